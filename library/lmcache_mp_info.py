#!/usr/bin/python
# Copyright: the kvproof authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: lmcache_mp_info
short_description: Gather what a node shows of LMCache's multiprocess mode
version_added: 0.2.0
description:
  - Looks for the coordinator (C(lmcache coordinator)) or for a cache server (C(lmcache server)) that runs on this host,
    and asks its HTTP API what it knows. Reads only, judges nothing.
  - The cache server beside an engine is a part of what M(kvproof.cluster.lmcache_node_info) returns.
  - Asked are, with GET, C(/healthcheck), C(/status), C(/config) and C(/version) of a server; C(/healthz), C(/instances)
    and C(/directory/stats) of the coordinator.
options:
  coordinator:
    description: Look for the coordinator. An empty dictionary takes the defaults.
    type: dict
    suboptions:
      name: &name
        description: Name in the inventory, only passed through.
        type: str
      url:
        description: URL of its HTTP server. Unset means the address that its process binds.
        type: str
      timeout: &timeout
        description: Seconds for each request.
        type: float
        default: 2.0
  cache_server:
    description: Look for the only cache server of this host. An empty dictionary takes the defaults.
    type: dict
    suboptions:
      name: *name
      url:
        description: URL of its HTTP API. Unset means the one of its command line.
        type: str
      timeout: *timeout
      log:
        description: Where its log is. Unset means where its process writes.
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
      ids:
        description: Request ids to look for in the log.
        type: list
        elements: str
        default: []
      run_marker:
        description: Text that every request id of this run contains.
        type: str
      since:
        description: When this run began, in epoch seconds.
        type: float
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
  - module: kvproof.cluster.lmcache_node_info
author:
  - The kvproof authors (@kvproof)
"""

EXAMPLES = r"""
- name: Look at the coordinator of this host
  kvproof.cluster.lmcache_mp_info:
    coordinator: {}
  register: coordinator_seen
"""

RETURN = r"""
coordinator:
  description: What was seen, C(kvproof.coordinator/1). Every field is described in docs/evidence.md.
  returned: with O(coordinator)
  type: dict
  sample: {url: "http://127.0.0.5:9300", healthy: true, instances: []}
cache_server:
  description: What was seen, C(kvproof.cache_server/1). Every field is described in docs/evidence.md.
  returned: with O(cache_server)
  type: dict
  sample: {url: "http://127.0.0.97:8080", healthy: true, facts: {chunk_size: 256, p2p_state: registered}}
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.kvproof.node import modules as answers


def main():
    module = AnsibleModule(argument_spec=answers.MP, supports_check_mode=True)
    try:
        module.exit_json(changed=False, **answers.mp(module.params))
    except answers.BadParameter as problem:
        module.fail_json(msg=str(problem))


if __name__ == "__main__":
    main()
