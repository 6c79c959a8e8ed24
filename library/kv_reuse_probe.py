#!/usr/bin/python
# Copyright: the kvproof authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: the KV reuse experiment of one pair of engines."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kv_reuse_probe
short_description: Sends fresh prompts to a pair of vLLM engines and records whether KV cache is reused
version_added: 0.1.0
description:
  - Makes the whole experiment of one pair over HTTP, in one process so that its timing is tight. A never-seen
    prompt is sent to the I(holder) (prefill node), and once its KV cache is stored, a prompt with the same
    beginning to the I(receiver) (decode node). Controls that must miss show that a hit means something.
  - It gathers evidence and judges nothing. A cluster that is broken, unreachable or slow never fails the task;
    what was seen and what went wrong is in RV(probe). Only bad input fails it.
  - A wait for the store to become visible ends early when the LMCache controller's key count, the holder's log
    or its hot-cache gauge shows it. With none of these it lasts O(wait) seconds.
  - Prompts of a lookup that ran into LMCache's time-out are lost and made again, up to O(extra_attempts) times
    each, as long as that can still lead to a proof. Where the engine does not tell cached tokens
    (C(--enable-prompt-tokens-details)), only the time to the first token decides what was lost.
author:
  - The kvproof authors (@kvproof)
requirements:
  - python >= 3.11
  - requests
  - prometheus_client
  - transformers (only for engines without /tokenize, when a tokenizer is given)
  - paramiko >= 3.0 and OpenSSH's client (only for engines that are reached through SSH)
attributes:
  check_mode:
    support: full
    description: In check mode nothing is sent, and RV(probe.skipped) says so.
  diff_mode:
    support: none
    description: There is nothing to show a difference of.
notes:
  - Runs where the engines' HTTP ports can be reached, usually on the Ansible controller.
  - Never reports C(changed). The probe configures nothing; the KV cache of its prompts, bounded by
    O(max_probe_mb), leaves the engines' pools like that of any other request.
  - Through SSH every connection is a direct-tcpip channel. No port is opened on any machine, and nothing runs on the
    node. Which keys, known hosts and jump hosts count is what C(ssh -G) says of the arguments.
  - Proxies in the environment are ignored. Redirects are not followed, so the key never leaves its host.
options:
  plan:
    description:
      - What M(kvproof.cluster.kv_reuse_plan) returned as C(plan). All its pairs are probed on the controller, as many
        clusters side by side as Ansible has forks, with the variables of the role C(kv_reuse) of their hosts.
      - Instead of all other options but O(recognised) and O(reached).
    type: json
  recognised:
    description:
      - With O(plan), the name under which M(kvproof.cluster.lmcache_node_info) was registered when it looked at the
        hosts, to see what their engines are before anything is sent to them.
    type: str
  reached:
    description:
      - With O(plan), the name under which it was registered when it tried the ports of
        M(kvproof.cluster.kv_reuse_peers).
    type: str
  holder:
    description: The engine that computes and stores the KV cache (prefill node). Required without O(plan).
    type: dict
    suboptions: &engine
      name:
        description: Name of the engine in the evidence, usually its inventory name.
        type: str
        required: true
      url:
        description: URL of its OpenAI-compatible server. A trailing C(/v1) is taken off.
        type: str
        required: true
      metrics_url:
        description: URL of its Prometheus metrics. C(/metrics) of O(holder.url) unless given.
        type: str
      model:
        description: Served name of the model. The first one that C(/v1/models) lists unless given.
        type: str
      api_key:
        description: API key of the server.
        type: str
      ca_cert:
        description: File with the CA certificate of the server, on the host that runs the module.
        type: path
      verify_tls:
        description: Whether the server's certificate is checked.
        type: bool
        default: true
      headers:
        description: More header fields to send with every request to the server.
        type: dict
        default: {}
      proxy:
        description: URL of an HTTP proxy to use. None unless given.
        type: str
      internal_api_url:
        description: URL of LMCache's internal API server, for the effective configuration.
        type: str
      mp_url:
        description: URL of the HTTP API of its cache server, in LMCache's multiprocess mode.
        type: str
      mp_instances:
        description: Ids under which the engine's ranks registered with that server, where they are known.
        type: list
        elements: str
        default: []
      log_file:
        description: The engine's log, when it is a file that the module can read.
        type: path
      tokenizer:
        description: Folder of the model's tokenizer, for servers that have no C(/tokenize).
        type: path
      recognised:
        description:
          - What is known of the engine, so that nothing is sent that it could not bear. Unset, it is taken for one
            that has LMCache's in-process P2P.
        type: dict
        suboptions:
          architecture:
            description: V(inprocess_p2p), V(mp), V(lmcache_pd) or V(nixl_pd).
            type: str
          kv_role:
            description: V(kv_producer), V(kv_consumer) or V(kv_both).
            type: str
          connector:
            description: The class that vLLM's C(--kv-transfer-config) names.
            type: str
          unsure:
            description: Why it may be something else all the same.
            type: str
      ssh:
        description:
          - Reach the engine through an SSH server. Its URLs are then as that server sees them.
          - A tunnel that cannot be had says nothing about the engine.
        type: dict
        suboptions: &ssh
          inventory_host:
            description: Log in as Ansible would to this host of the inventory. The other options are then not needed.
            type: str
          host:
            description: Name or address for ssh.
            type: str
          args:
            description: Arguments for ssh, such as C(-p 2222 -l kv -J bastion).
            type: str
            default: ""
          password:
            description: Password, where no key is accepted.
            type: str
  receiver:
    description: The engine that should reuse it (decode node). Required without O(plan).
    type: dict
    suboptions: *engine
  controller_url:
    description: URL of the LMCache controller's HTTP server.
    type: str
  controller_ssh:
    description: Reach the controller through an SSH server.
    type: dict
    suboptions: *ssh
  coordinator_url:
    description: URL of the coordinator, in LMCache's multiprocess mode.
    type: str
  coordinator_ssh:
    description: Reach the coordinator through an SSH server.
    type: dict
    suboptions: *ssh
  router_url:
    description:
      - URL of the cluster's own proxy or router. After the experiments, which go past it, three prompts are sent
        through it, as the receiver's are, and RV(probe.router) says what each engine counted meanwhile.
      - Nothing is sent through it where a prompt could end an engine, or where an engine did not answer before.
    type: str
  router_ssh:
    description: Reach the router through an SSH server.
    type: dict
    suboptions: *ssh
  cluster:
    description: Name of the cluster; goes into RV(probe) as it is.
    type: str
  run_id:
    description:
      - Part of every request id, so of the engines' log lines. Letters and digits.
      - Must differ between pairs. Random unless given.
    type: str
  trials:
    description: Number of fresh prompts.
    type: int
    default: 3
  extra_attempts:
    description: How often a prompt that was lost to a lookup time-out is replaced by a fresh one.
    type: int
    default: 2
  chunks:
    description: Length of the prompts' common beginning in chunks of LMCache. V(0) is 4, or as many as fit.
    type: int
    default: 0
  chunk_size:
    description: LMCache's C(chunk_size), where no internal API tells it. LMCache's default unless given.
    type: int
  wait:
    description: Longest wait for a store to become visible, in seconds.
    type: float
    default: 5.0
  deadline:
    description: Longest duration of the whole experiment, in seconds. What was seen until then is returned.
    type: float
    default: 120.0
  max_tokens:
    description: Tokens to generate in the first trial, from which the inter-token times come. All others take 8.
    type: int
    default: 32
  max_probe_mb:
    description:
      - Most KV cache that a run's probes may leave in an engine's pool, in MiB, where its size is known.
      - Prompts are made shorter to stay within it, down to one chunk; where that is not enough nothing is sent.
    type: int
    default: 4096
  shares:
    description: Pairs of the run that use the busier of both engines. Each has an equal share of O(max_probe_mb).
    type: int
    default: 1
  lengths:
    description:
      - Lengths in tokens of other common beginnings, rounded down to whole chunks, at which reuse and recompute are
        timed after the experiment, O(trials) times each.
      - What does not fit the engines or O(max_probe_mb) is skipped, and RV(probe.lengths) says why.
    type: list
    elements: int
    default: []
  source:
    description:
      - From where KV may come. With V(any), all seeds are sent first, O(wait) passes in full, and metrics are read
        before anything is reused, so that the judge can tell which engine computed what.
    type: str
    choices: [p2p, any]
    default: p2p
  wait_for_flush:
    description: Whether to wait until LMCache has flushed its counters (up to 11 s) before the last metrics are read.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Probe one pair
  kvproof.cluster.kv_reuse_probe:
    holder: {name: prefill-1, url: "http://10.0.0.17:8000"}
    receiver: {name: decode-1, url: "http://10.0.0.18:8000"}
    controller_url: http://10.0.0.5:9000
  delegate_to: localhost
  register: result

- name: Probe all pairs of a plan
  kvproof.cluster.kv_reuse_probe:
    plan: "{{ planned.plan }}"
  register: probed
  run_once: true
  delegate_to: localhost

- name: Probe engines behind TLS with a key, once
  kvproof.cluster.kv_reuse_probe:
    holder: &engine
      name: prefill-1
      url: https://prefill.example.com
      api_key: "{{ vault_kv_reuse_api_key }}"
      ca_cert: /etc/ssl/private-ca.pem
    receiver: "{{ engine | combine({'name': 'decode-1', 'url': 'https://decode.example.com'}) }}"
    trials: 1
    wait_for_flush: true
  vars:
    engine: *engine
  delegate_to: localhost

- name: Probe engines that listen on their nodes' loopback alone
  kvproof.cluster.kv_reuse_probe:
    holder: {name: prefill-1, url: "http://127.0.0.1:8000", ssh: {inventory_host: prefill-1}}
    receiver: {name: decode-1, url: "http://127.0.0.1:8000", ssh: {host: 10.0.0.18, args: -l kv -J bastion}}
  delegate_to: localhost
"""

RETURN = r"""
kv_reuse_probed_pairs:
  description: The pairs that were probed.
  returned: with O(plan)
  type: list
  elements: dict
  sample: [{cluster: demo, holder: prefill-1, receiver: decode-1}]
probes:
  description: >-
    Cluster to JSON text, a list with the pair, and either its probe or the problem that kept it from being probed, of
    each pair.
  returned: with O(plan)
  type: dict
  sample: {demo: '[{"pair": {}, "probe": {}, "problem": null}]'}
requests:
  description: >-
    Host to JSON text, the request ids that its log should show, since when, and the peers that it should reach, as
    O(kvproof.cluster.lmcache_node_info#module:requests) takes them.
  returned: with O(plan)
  type: dict
  sample: {prefill-1: '{"ids": ["kvp-k3f9a1c2b-0-seed"], "since": 1795487060.1, "peers": []}'}
probe:
  description: What was sent and seen, a C(kvproof.probe/1) document (docs/evidence.md).
  returned: without O(plan)
  type: dict
  contains:
    schema:
      description: Name and version of the document's format.
      type: str
      sample: kvproof.probe/1
    run_id:
      description: Part of every request id.
      type: str
      sample: k3f9a1c2b
    skipped:
      description: Why nothing was sent, if so.
      type: str
      sample: check mode
    engines:
      description: First contact, metrics before and after, and effective configuration of both engines.
      type: dict
      sample: {holder: {name: prefill-1, reachable: true, model: tiny}, receiver: {name: decode-1, reachable: true}}
    controller:
      description: The controller's list of workers.
      type: dict
      sample: {url: "http://10.0.0.5:9000", http: {state: ok, status: 200}}
    prompt:
      description: Length of the prompts, the hit to expect, and why they were refused, if so.
      type: dict
      sample: {source: tokenize, tokens: 1070, prefix_tokens: 1052, chunk_size: 256, expected_hit: 1024, refused: null}
    warmup:
      description: Requests that took first-time costs out of the trials.
      type: list
      elements: dict
      sample: [{role: warmup, engine: holder, ttft_s: 1.9}]
    trials:
      description: Every fresh prompt with its seed, reuse and controls, in order.
      type: list
      elements: dict
      sample: [{index: 0, attempt: 0, expected_hit: 1024, reuse: {cached_tokens: 1024, ttft_s: 0.05}}]
    never_seen:
      description: A prompt nobody has seen, which must show no hit.
      type: dict
      sample: {role: never_seen, cached_tokens: 0}
    recompute:
      description: A second recompute of the last prompt, the noise floor of its log-probabilities.
      type: dict
      sample: {role: recompute, cached_tokens: 0}
    lengths:
      description: One entry per length of O(lengths).
      type: list
      elements: dict
      sample: [{asked: 16384, tokens: null, skipped: 16424 tokens exceed max_model_len 8192, trials: []}]
    router:
      description: The prompts that went through O(router_url), and what the engines counted around each.
      type: dict
      sample: {url: "http://10.0.0.5:8080", withheld: null, requests: [{rendered: 1070, engines: {prefill-1: {}}}]}
    errors:
      description: What went wrong, each with one sentence that says what to do.
      type: list
      elements: dict
      sample: [{where: receiver.health, kind: connect, status: null, text: "nothing listens at http://10.0.0.18:8000"}]
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ..module_utils.kvproof.probe import options, rounds


def main():
    module = AnsibleModule(
        argument_spec=options.task_spec(),
        required_one_of=[("plan", "holder")],
        required_together=[("holder", "receiver")],
        supports_check_mode=True,
    )
    module.no_log_values = options.secrets(module.no_log_values)
    try:
        probe = rounds.probe({name: module.params[name] for name in options.argument_spec()}, module.check_mode)
    except rounds.MissingLibrary as exc:
        module.fail_json(msg=missing_required_lib(exc.library, reason=exc.reason), exception=str(exc.error))
    except ValueError as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(changed=False, probe=probe)


if __name__ == "__main__":
    main()
