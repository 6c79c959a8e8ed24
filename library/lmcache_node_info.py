#!/usr/bin/python
# Copyright: the kvproof authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: lmcache_node_info
short_description: Gather what one node shows of its vLLM engine and LMCache
version_added: 0.1.0
description:
  - Looks at one engine's node in one pass, reads only, and judges nothing.
    What could not be seen is null, with the reason next to it.
  - The engine is found by its listening socket, else by a world-readable command line with its port.
    Its configuration file, environment and log are followed from there where they may be read.
  - Environment names, command line options and configuration keys pass an allow-list,
    and URLs lose their credentials, on the node.
  - The configuration file is read with PyYAML where the node has it.
    Otherwise a small reader of its own takes the flat C(key=value) style of these files,
    and reports V(invalid) for anything it does not understand.
  - LMCache's internal API is asked with GET for C(/conf), C(/meta), C(/lmc_version) and C(/backends) only.
  - Its arguments are checked on the controller, and what is looked for is piped into the node's Python as one program
    where a pipe leads there, so that no file is written on the node.
options:
  parts:
    description:
      - What is looked at. V(log) reads O(log) alone, as M(kvproof.cluster.lmcache_log_info) does, and is part of
        V(engine). V(controller) looks at the controller's process on this node, as
        M(kvproof.cluster.lmcache_controller_info) does. V(coordinator) and V(cache_server) look at those of the
        multiprocess mode, as M(kvproof.cluster.lmcache_mp_info) does.
    type: list
    elements: str
    choices: [engine, log, controller, coordinator, cache_server]
    default: [engine]
  only:
    description:
      - Parts of RV(node) that are read, with what they need. Empty means all.
      - C([engine, config_file, effective, versions, log]) tells what runs, at less cost.
      - C([dials]) tries O(peers) and reads nothing.
    type: list
    elements: str
    default: []
  url:
    description: URL of the engine's OpenAI API, which tells O(host) and O(port) where they are not given.
    type: str
  port:
    description: Port of the engine's OpenAI API on this node. V(8000) where no O(url) tells it.
    type: int
  host:
    description:
      - Address or name under which clients reach the engine.
        It tells several engines on one machine apart.
      - Unset, the address that SSH was called under does, where it is needed.
    type: str
  log:
    description:
      - Where the engine's log is. Exactly one of the suboptions.
      - Unset, or without a value, means the file or journal that the engine's process writes to, where that can be
        seen.
    type: dict
    suboptions:
      file:
        description: Path of the log file on the node. Its rotated siblings are looked at, too.
        type: str
      unit:
        description: Name of the systemd unit whose journal has the log.
        type: str
      command:
        description:
          - Command, as a list of words, that prints the log. It must not change anything.
          - C({since}) in a word becomes O(since) in epoch seconds, C({since_time}) the same as RFC 3339.
        type: list
        elements: str
      on_controller:
        description:
          - A log that is not on the node. It is read on the machine that runs the playbook, by its user, before the
            node, in the same way and within the same bounds, and in half of O(timeout) at most.
          - Exactly one of the suboptions.
        type: dict
        suboptions:
          file:
            description: Path of the log file there, such as one on a shared file system.
            type: str
          command:
            description: Command, as a list of words, that prints the log there, such as C(kubectl logs).
            type: list
            elements: str
  log_seen:
    description:
      - What M(kvproof.cluster.lmcache_log_info) returned of the engine's log as C(log), where it
        was read elsewhere. O(log) with C(on_controller) sets it.
    type: dict
  config_file:
    description:
      - Path of LMCache's configuration file.
        Unset means the one that the engine's environment or log names.
    type: str
  internal_api_url:
    description:
      - URL of LMCache's internal API, the scheduler's or a worker's.
        Unset means the one that follows from the configuration.
    type: str
  mp_url:
    description:
      - URL of the HTTP API of the engine's cache server, in multiprocess mode.
        Unset means the one of the command line of the server that the engine's connector names.
    type: str
  mp_log:
    description: Where the cache server's log is, as O(log). Unset means where its process writes.
    type: dict
    suboptions:
      file:
        description: Path of the log file on the node.
        type: str
      unit:
        description: Name of the systemd unit whose journal has the log.
        type: str
      command:
        description: Command, as a list of words, that prints the log.
        type: list
        elements: str
  coordinator_url:
    description: URL of the multiprocess mode's coordinator, for V(coordinator) among O(parts).
    type: str
  ids: &ids
    description: Request ids to look for in the log, as sent or as answered.
    type: list
    elements: str
    default: []
  run_marker:
    description: Text that every request id of this run contains. The log is read from its first occurrence.
    type: str
  since: &since
    description:
      - When this run began, in epoch seconds. Older lines are not searched.
      - Without it a run that lies further from the end of a large log than O(log_budget) is not found.
    type: float
  peers: &peers
    description: Addresses of other engines that this node must be able to reach.
    type: list
    elements: dict
    default: []
    suboptions:
      to:
        description: Address and port as V(host:port).
        type: str
        required: true
      why:
        description: Which of the peer's ports this is, of P2P or of LMCache's prefill/decode transfer.
        type: str
        choices: [peer-init, peer-lookup, pd-init, pd-alloc]
        default: peer-init
  requests:
    description:
      - O(ids), O(since) and O(peers) of a run together, as M(kvproof.cluster.kv_reuse_probe) returns them for a host.
        They count before those.
    type: dict
    suboptions:
      ids: *ids
      since: *since
      peers: *peers
  as_text:
    description:
      - Return everything as one JSON text, RV(seen). As variables of every host it takes a tenth of the memory.
    type: bool
    default: false
  timeout:
    description:
      - Longest duration in seconds of reading the host, whatever it waits for. Only the action of this name, which runs
        on Ansible's own machine, knows it; an answer of more than 32 MB ends the reading, too.
    type: float
    default: 60.0
  controller_url:
    description: URL of the LMCache controller, to see whether it can be reached from here.
    type: str
  api_timeout:
    description: Seconds for one request to the internal API.
    type: float
    default: 2.0
  dial_timeout:
    description: Seconds for a TCP connection to open. Connections are tried at the same time and closed at once.
    type: float
    default: 1.0
  log_timeout:
    description: Seconds for reading the log.
    type: float
    default: 10.0
  log_budget:
    description: Bytes that are read from the end of the log at most, and again around O(since) where it is needed.
    type: int
    default: 67108864
  log_head:
    description: Bytes that are read from the head of the log at most, for start-up facts.
    type: int
    default: 2097152
  max_events:
    description: Events that are returned from the log at most. This run's own have as much room again.
    type: int
    default: 5000
attributes:
  check_mode:
    description: Reads only, so check mode makes no difference.
    support: full
  diff_mode:
    description: Changes nothing, so there is no difference to show.
    support: none
  platform:
    description: Reads C(/proc).
    support: full
    platforms: linux
seealso:
  - module: kvproof.cluster.lmcache_log_info
  - module: kvproof.cluster.lmcache_controller_info
  - module: kvproof.cluster.lmcache_mp_info
author:
  - The kvproof authors (@kvproof)
"""

EXAMPLES = r"""
- name: Look at the engine on port 8000
  kvproof.cluster.lmcache_node_info:
  register: seen

- name: Look at one of two engines of this machine, and for one run in its log
  kvproof.cluster.lmcache_node_info:
    port: 8000
    host: 127.0.0.97
    run_marker: kvp-k3f9a1c2b
    since: 1795487060.1
    ids:
      - kvp-k3f9a1c2b-0-reuse
    peers:
      - to: 127.0.0.13:8200
      - to: 127.0.0.13:8201
        why: peer-lookup
    controller_url: http://127.0.0.5:9000

- name: Look at an engine in a container, as a user who may ask for its log
  kvproof.cluster.lmcache_node_info:
    log:
      command: [docker, logs, --since, "{since}", vllm]
    config_file: /etc/lmcache/lmcache.yaml
"""

RETURN = r"""
seen:
  description: RV(node), RV(log) and RV(controller), as far as they were looked at, as JSON text.
  returned: with O(as_text)
  type: str
  sample: '{"node": {"schema": "kvproof.node/1"}}'
log:
  description: What M(kvproof.cluster.lmcache_log_info) returns.
  returned: with V(log) among O(parts) and without V(engine)
  type: dict
  sample: {state: ok, detail: null}
controller:
  description: What M(kvproof.cluster.lmcache_controller_info) returns.
  returned: with V(controller) among O(parts)
  type: dict
  sample: {url: "http://127.0.0.5:9000"}
coordinator:
  description: What M(kvproof.cluster.lmcache_mp_info) returns.
  returned: with V(coordinator) among O(parts)
  type: dict
  sample: {url: "http://127.0.0.5:9300"}
cache_server:
  description: What M(kvproof.cluster.lmcache_mp_info) returns.
  returned: with V(cache_server) among O(parts)
  type: dict
  sample: {url: "http://127.0.0.97:8080"}
node:
  description: What was seen, C(kvproof.node/1). Every field is described in docs/evidence.md.
  returned: with V(engine) among O(parts)
  type: dict
  contains:
    engine:
      description: The engine's process, its listed options and environment, and what was not to be seen.
      type: dict
      returned: always
      sample:
        port: 8000
        running: true
        pid: 7600
        user: vllm
        started_at: 1795487040.2
        found_by: cmdline
        listening: true
        options: {model: /opt/kv/model, host: 127.0.0.97, port: "8000"}
        env: null
        other_namespace: false
        unseen: ["pid of the socket", "environ"]
    config_file:
      description: The configuration file on disk, reduced to listed keys.
      type: dict
      returned: always
      sample:
        path: /etc/lmcache/lmcache.yaml
        found_by: environ
        state: ok
        detail: null
        mtime: 1795487000.0
        values: {enable_p2p: true, p2p_host: 127.0.0.97, chunk_size: 256}
        keys_other: []
    effective:
      description: The configuration in effect, from the internal API or else from the engine's log.
      type: dict
      returned: always
      sample: {source: internal_api, values: {enable_p2p: true, chunk_size: 256}}
    meta:
      description: LMCache's metadata of the model, null when not seen.
      type: dict
      returned: always
      sample: {model_name: /opt/kv/model, kv_dtype: torch.bfloat16, world_size: 1}
    backends:
      description: LMCache's storage backends, null when not seen.
      type: list
      elements: str
      returned: always
      sample: [LocalCPUBackend, P2PBackend]
    internal_api:
      description: Whether the internal API answered. The status is that of a worker's C(/backends).
      type: dict
      returned: always
      sample: {url: "http://127.0.0.97:6999", state: ok, status: 200}
    cache_server:
      description: The engine's cache server in multiprocess mode, null where there is none. See docs/evidence.md.
      type: dict
      returned: always
      sample: {url: "http://127.0.0.97:8080", healthy: true}
    p2p_host:
      description: The address P2P binds and advertises, and whether it is one of this node's.
      type: dict
      returned: always
      sample: {value: 127.0.0.97, resolved: [127.0.0.97], ours: true}
    pd:
      description: >-
        Of a receiver of LMCache's prefill/decode transfer, whether C(pd_peer_host) is one of this node's addresses, and
        who has the ports that it takes KV on (V(engine), V(another), V(nobody), or null where it was not seen).
      type: dict
      returned: always
      sample: {host_ours: true, ports: [{use: init, port: 7300, held: engine}, {use: alloc, port: 7400, held: engine}]}
    listening:
      description: Listening sockets among the ports the configuration speaks of.
      type: list
      elements: dict
      returned: always
      sample: [{address: 127.0.0.97, port: 8200}]
    dials:
      description: Which of the addresses that P2P depends on can be reached from here.
      type: list
      elements: dict
      returned: always
      sample: [{to: "127.0.0.13:8200", why: peer-init, state: open, ms: 0.4}]
    log:
      description: The log, C(kvproof.log/1). See M(kvproof.cluster.lmcache_log_info).
      type: dict
      returned: always
    duration_s:
      description: Seconds that the looking took.
      type: float
      returned: always
      sample: 0.05
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.kvproof.node import arguments
from ..module_utils.kvproof.node import modules as answers


def main():
    module = AnsibleModule(argument_spec=arguments.TASK, supports_check_mode=True)
    try:
        module.exit_json(changed=False, **answers.node(answers.of_node(module.params)))
    except answers.BadParameter as problem:
        module.fail_json(msg=str(problem))


if __name__ == "__main__":
    main()
