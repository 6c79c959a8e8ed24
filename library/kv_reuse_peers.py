#!/usr/bin/python
# Copyright: the kvproof authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of an action: this module never runs, action_plugins/kv_reuse_peers.py does all of it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kv_reuse_peers
short_description: Finds the ports that engines of LMCache's prefill/decode transfer have to reach
version_added: 0.1.0
description:
  - A sender of LMCache's prefill/decode transfer hangs for good where it is sent to a port that does not answer, so its
    node tries the receiver's ports before anything is sent. This says which they are, of what the first look at the
    receivers' nodes showed in force. It sends nothing anywhere.
author:
  - The kvproof authors (@kvproof)
attributes:
  check_mode:
    description: Finds them all the same.
    support: full
  diff_mode:
    description: There is nothing to show a difference of.
    support: none
options:
  plan:
    description: What M(kvproof.cluster.kv_reuse_plan) returned as C(plan).
    type: json
    required: true
  recognised:
    description: The name under which M(kvproof.cluster.lmcache_node_info) was registered when it looked at the hosts.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Find the ports that senders have to reach
  kvproof.cluster.kv_reuse_peers:
    plan: "{{ planned.plan }}"
    recognised: looked
  register: found
  run_once: true
  delegate_to: localhost
"""

RETURN = r"""
peers:
  description: Host to the ports it has to reach, as O(kvproof.cluster.lmcache_node_info#module:peers) takes them.
  returned: always
  type: dict
  sample: {prefill-1: [{to: "10.0.0.18:7300", why: pd-init}, {to: "10.0.0.18:7400", why: pd-alloc}]}
"""
