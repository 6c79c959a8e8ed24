#!/usr/bin/python
# Copyright: the kvproof authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: lmcache_log_info
short_description: Gather LMCache's events from an engine's log
version_added: 0.1.0
description:
  - Reads a bounded part of a log and returns what LMCache's lines say, as events. Reads only, judges nothing.
  - Of a large file the head is read, for start-up facts, and the lines from this run's first one to the end,
    which is searched backwards from the end. Where it lies further back than O(budget), it is looked for around the
    time O(since), by the log's own time stamps. Rotated siblings are looked at where the run begins in one.
  - Raw lines are returned for known warnings and errors only, without credentials in URLs.
options:
  log:
    description: Where the log is. Exactly one of the suboptions.
    type: dict
    required: true
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
  ids:
    description: Request ids to look for, as sent or as answered.
    type: list
    elements: str
    default: []
  run_marker:
    description: Text that every request id of this run contains. The log is read from its first occurrence.
    type: str
  since:
    description:
      - When this run began, in epoch seconds. Older lines are not searched.
      - Without it a run that lies further from the end of a large file than O(budget) is not found.
    type: float
  started_at:
    description: When the engine was started, in epoch seconds. Start-up facts older than that are dropped.
    type: float
  timeout:
    description: Seconds for reading.
    type: float
    default: 10.0
  budget:
    description: Bytes that are read from the end of the log at most, and again around O(since) where it is needed.
    type: int
    default: 67108864
  head:
    description: Bytes that are read from the head of the log at most.
    type: int
    default: 2097152
  max_events:
    description: Events that are returned at most. This run's own have as much room again.
    type: int
    default: 5000
attributes:
  check_mode:
    description: Reads only, so check mode makes no difference.
    support: full
  diff_mode:
    description: Changes nothing, so there is no difference to show.
    support: none
seealso:
  - module: kvproof.cluster.lmcache_node_info
author:
  - The kvproof authors (@kvproof)
"""

EXAMPLES = r"""
- name: Read the start-up facts of an engine's log
  kvproof.cluster.lmcache_log_info:
    log:
      file: /var/log/vllm/vllm.log
  register: engine_log

- name: Look for one run in the journal
  kvproof.cluster.lmcache_log_info:
    log:
      unit: vllm.service
    run_marker: kvp-k3f9a1c2b
    since: 1795487060.1

- name: Look for one request in a container's log
  kvproof.cluster.lmcache_log_info:
    log:
      command: [kubectl, logs, "--since-time={since_time}", decode-0]
    ids:
      - cmpl-kvp-k3f9a1c2b-0-reuse
    since: 1795487060.1
"""

RETURN = r"""
log:
  description: What was read, C(kvproof.log/1). Every field and every kind of event is in docs/evidence.md.
  returned: success
  type: dict
  contains:
    state:
      description: >-
        Whether the log could be read. One of V(ok), V(empty), V(absent), V(unreadable), V(not-a-file),
        V(failed) and V(unknown).
      type: str
      returned: always
      sample: ok
    detail:
      description: One sentence when there is something to say about the state.
      type: str
      returned: always
      sample: the file has 0 bytes
    ids_found:
      description: Those of the ids that the log has.
      type: list
      elements: str
      returned: always
      sample: [kvp-k3f9a1c2b-0-reuse]
    ids_missing:
      description: Those of the ids that it has not, as far as it was read.
      type: list
      elements: str
      returned: always
      sample: []
    head:
      description: Start-up facts, in order.
      type: list
      elements: dict
      returned: always
      sample: [{kind: none_hash, at: "2026-11-24 02:24:19,386", offset: 16161, value: "5313149338359954478"}]
    events:
      description: What happened from this run's first line on, in order.
      type: list
      elements: dict
      returned: always
      sample:
        - kind: retrieved
          at: "2026-11-24 02:24:38,997"
          offset: 45120
          id: cmpl-kvp-k3f9a1c2b-0-reuse-0-be87fa18
          tokens: 512
          required: 512
          total: 512
    levels:
      description: LMCache's lines by level, in what was read.
      type: dict
      returned: always
      sample: {INFO: 151, WARNING: 10, ERROR: 0}
    whole:
      description: Whether all of the log was read.
      type: bool
      returned: always
      sample: true
    truncated:
      description: Whether there may be more events of this run than are returned.
      type: bool
      returned: always
      sample: false
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.kvproof.node import modules as answers


def main():
    module = AnsibleModule(argument_spec=answers.LOG, supports_check_mode=True)
    try:
        module.exit_json(changed=False, **answers.log(module.params))
    except answers.BadParameter as problem:
        module.fail_json(msg=str(problem))


if __name__ == "__main__":
    main()
