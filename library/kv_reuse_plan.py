#!/usr/bin/python
# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of an action: this module never runs, action_plugins/kv_reuse_plan.py does all of it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kv_reuse_plan
short_description: Chooses the pairs of engines whose reuse of KV cache is judged
version_added: 0.1.0
description:
  - Checks the variables of the role C(kv_reuse) of every host of the play, and chooses pairs of a prefill and a decode
    node, cluster by cluster. It sends nothing anywhere.
  - Fails when there is no pair to judge, so that a run that judged nothing never passes.
  - Runs once for all hosts of the play. Hosts that are not in the play are left out, and the report says so.
author:
  - The kvproof authors (@kvproof)
attributes:
  check_mode:
    description: Plans all the same.
    support: full
  diff_mode:
    description: There is nothing to show a difference of.
    support: none
options:
  mode:
    description: >-
      Every pair of a cluster (V(full)), the fewest in which every node takes part (V(cover)), or one (V(one)).
    type: str
    default: cover
  max_pairs:
    description: Most pairs of one cluster. 0 is no bound.
    type: int
    default: 0
  parallel_pairs:
    description: Pairs of one cluster that are probed at the same time, none of which has an engine
      in common with another.
    type: int
    default: 1
  shard:
    description: Which part of the inventory's clusters is judged, V(2/5) being the second of five. Empty is all.
    type: str
    default: ""
  inconclusive:
    description: Whether a run that proved nothing fails or warns.
    type: str
    choices: [fail, warn]
    default: fail
  waive:
    description: Findings that are accepted, as C(kv_reuse_waive) has them. Those that do not count are noted.
    type: raw
  reports_dir:
    description: Where the callback C(kv_reuse_report) writes.
    type: str
    default: reports
  console:
    description: What the callback prints, as C(kv_reuse_console) has it.
    type: str
    choices: [full, short]
    default: full
  lang:
    description: The language of what people read, as C(kv_reuse_lang) has it.
    type: str
    choices: [en, ja]
    default: en
  bundle:
    description: Whether the callback writes the evidence, too.
    type: bool
    default: false
  formats:
    description: What the callback writes besides, as C(kv_reuse_formats) has it.
    type: list
    elements: str
    choices: [codequality, sarif, trace]
    default: []
  history:
    description: Folder of the runs that this one is compared with, and in which it is kept; empty for none.
    type: str
    default: ""
  history_keep:
    description: How many runs are kept there.
    type: int
    default: 50
  seed_mode:
    description: Whether the hosts were made of two URLs, so that there are no nodes to look at.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Choose the pairs, in which every node takes part once
  kvproof.cluster.kv_reuse_plan:
    mode: cover
  register: planned
  run_once: true
  delegate_to: localhost
"""

RETURN = r"""
kv_reuse_plan:
  description: What the callback shows of the plan. A pair has a cluster, a holder (prefill) and a receiver (decode).
  returned: always
  type: dict
  sample: {mode: inventory, run_id: 3f9a1c2b, pairs: [{cluster: demo, holder: prefill-1, receiver: decode-1}]}
plan:
  description: >-
    The same as JSON text, with what the actions kv_reuse_probe and kv_reuse_verdict need besides: rounds of pairs,
    controllers, refused hosts, limits and waivers.
  returned: always
  type: str
  sample: '{"pairs": [], "rounds": {}}'
nodes:
  description: Host to what is to be looked at there, as O(kvproof.cluster.lmcache_node_info#module:parts) takes it.
  returned: always
  type: dict
  sample: {prefill-1: [engine], controller-1: [controller]}
unknown:
  description: >-
    Hosts whose engines are sent something and of which nobody has said what they are (kv_reuse_architecture), so that
    they are to be looked at before that.
  returned: always
  type: list
  elements: str
  sample: [prefill-1, decode-1]
"""
