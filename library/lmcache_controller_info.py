#!/usr/bin/python
# Copyright: the kvproof authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: lmcache_controller_info
short_description: Gather what a node shows of its LMCache controller
version_added: 0.1.0
description:
  - Looks whether the controller's process runs, on which ports it listens and which workers it lists.
    Reads only, judges nothing. What could not be seen is null, with the reason next to it.
  - The process is found by its listening socket, else by a world-readable command line
    (C(lmcache_controller), or C(lmcache.v1.api_server) as a Python module).
options:
  name:
    description: Name of the controller in the inventory, only passed through.
    type: str
  url:
    description:
      - URL of the controller. Unset means the address that its process binds.
    type: str
  port:
    description: Port of the controller's HTTP side. Unset means that of O(url), else 9000.
    type: int
  host:
    description: Address under which clients reach the controller. Unset means that of O(url).
    type: str
  timeout:
    description: Seconds for the request.
    type: float
    default: 2.0
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
- name: Look at the controller of this node
  kvproof.cluster.lmcache_controller_info:
  register: controller_seen

- name: Look at a controller with a URL of its own
  kvproof.cluster.lmcache_controller_info:
    name: "{{ inventory_hostname }}"
    url: http://127.0.0.5:9000
"""

RETURN = r"""
controller:
  description: What was seen, C(kvproof.controller/1). Every field is described in docs/evidence.md.
  returned: success
  type: dict
  contains:
    url:
      description: Where the controller was asked, null when no address is known.
      type: str
      returned: always
      sample: http://127.0.0.5:9000
    http:
      description: Whether it answered.
      type: dict
      returned: always
      sample: {state: ok, status: 200, text: null}
    workers:
      description: The workers it lists, null when it did not answer.
      type: list
      elements: dict
      returned: always
      sample:
        - instance_id: decode_1
          worker_id: 0
          ip: 127.0.0.97
          port: 8501
          peer_init_url: 127.0.0.97:8200
          registration_time: 1795487059.5
          last_heartbeat_time: 1795487059.5
          key_count: 8
    process:
      description: Its process, and what was not to be seen.
      type: dict
      returned: always
      sample: {running: true, pid: 7549, user: lmcache, found_by: cmdline, unseen: ["pid of the socket"]}
    options:
      description: Address and ports of its command line, defaults filled in. Null when that was not seen.
      type: dict
      returned: always
      sample: {host: 0.0.0.0, port: 9000, monitor_ports: {pull: 8300, reply: 8400, heartbeat: null}}
    listening:
      description: Listening sockets among these ports.
      type: list
      elements: dict
      returned: always
      sample: [{address: 0.0.0.0, port: 8300}]
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.kvproof.node import modules as answers


def main():
    module = AnsibleModule(argument_spec=answers.CONTROLLER, supports_check_mode=True)
    try:
        module.exit_json(changed=False, **answers.controller(module.params))
    except answers.BadParameter as problem:
        module.fail_json(msg=str(problem))


if __name__ == "__main__":
    main()
