#!/usr/bin/python
# Copyright: the kvproof authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of an action: this module never runs, action_plugins/kv_reuse_verdict.py does all of it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kv_reuse_verdict
short_description: Judges whether the pairs of a plan reuse KV cache
version_added: 0.1.0
description:
  - Puts together what the probes and the nodes showed of each pair, and judges it by the chain of proof. Does no input
    or output.
  - Never fails for a bad verdict. It returns the headlines with which a task after it fails the receivers, and the
    callback C(kv_reuse_report) assembles the verdicts. A callback cannot fail a run.
author:
  - The kvproof authors (@kvproof)
attributes:
  check_mode:
    description: Judges all the same.
    support: full
  diff_mode:
    description: There is nothing to show a difference of.
    support: none
options:
  plan:
    description: What M(kvproof.cluster.kv_reuse_plan) returned as C(plan).
    type: json
    required: true
  probes:
    description: What M(kvproof.cluster.kv_reuse_probe) returned as C(probes). Pairs without a probe are inconclusive.
    type: dict
    default: {}
  nodes:
    description:
      - Name of the variable in which every host has what M(kvproof.cluster.lmcache_node_info) returned there.
      - The name and not the values, since they are many MB, through which Ansible would look for templates.
    type: str
    required: true
  recognised:
    description: >-
      The same of the look before the probe. It counts for hosts that could not be reached then, which are not tried
      again.
    type: str
"""

EXAMPLES = r"""
- name: Judge every pair
  kvproof.cluster.kv_reuse_verdict:
    plan: "{{ planned.plan }}"
    probes: "{{ probed.probes }}"
    nodes: node
  register: judged
  run_once: true
  delegate_to: localhost
"""

RETURN = r"""
outcome:
  description:
    - What a pipeline decides by. Set as custom statistics, too, where an AWX workflow finds it as C(kv_reuse_outcome).
    - Under C(--check) nothing is sent and nothing judged, so it is no pass; no receiver fails for that.
  returned: always
  type: dict
  sample:
    verdict: fail
    pairs: 4
    passed: 3
    failed: 1
    failing_clusters: [tokyo]
    findings: [{finding: p2p-disabled, hosts: ["tokyo: decode-1"]}]
headlines:
  description: The verdict in words, for a task that shows it.
  returned: where no callback reports
  type: list
  elements: str
kv_reuse_judged:
  description: JSON text for the callback, of each receiver its verdicts, its pairs that were not judged, and notes.
  returned: always
  type: str
  sample: '[{"verdicts": [], "unjudged": [], "notes": []}]'
failing:
  description: Host to the headlines of its pairs that fail the run.
  returned: always
  type: dict
  sample: {decode-1: ["FAIL prefill-1 → decode-1: broken at 4 configured alike"]}
"""
