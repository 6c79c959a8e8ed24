#!/usr/bin/python
# Copyright: the kvproof authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of an action: this module never runs, action_plugins/kv_reuse_merge.py does all of it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kv_reuse_merge
short_description: Merges the reports of several runs into one
version_added: 0.1.0
description:
  - Reads C(verdict.json) of runs that each validated a part of a fleet, and writes the same reports as one run over all
    of it.
  - Fails when the merged run is no pass.
author:
  - The kvproof authors (@kvproof)
attributes:
  check_mode:
    description: Nothing is written.
    support: full
  diff_mode:
    description: There is nothing to show a difference of.
    support: none
options:
  reports:
    description: Folders, files or patterns, as a list or between commas.
    type: raw
    required: true
  expect:
    description:
      - Clusters that must be there, as a list or between commas.
      - Those of the inventory's engines unless given.
    type: raw
  inconclusive:
    description: Whether a run that proved nothing fails or warns.
    type: str
    choices: [fail, warn]
    default: fail
  reports_dir:
    description: Where to write.
    type: str
    default: reports/merged
  lang:
    description: The language of what people read, as C(kv_reuse_lang) has it.
    type: str
    choices: [en, ja]
    default: en
  formats:
    description:
      - What is written besides, as C(kv_reuse_formats) has it. A job of GitLab's gets V(codequality) without asking.
      - V(trace) is of one run, and not written.
    type: list
    elements: str
    choices: [codequality, sarif, trace]
    default: []
"""

EXAMPLES = r"""
- name: Merge the reports of two slices
  kvproof.cluster.kv_reuse_merge:
    reports: [slice1, slice2]
    expect: [tokyo-1, osaka-1]
  run_once: true
  delegate_to: localhost
"""

RETURN = r"""
kv_reuse_merged:
  description: The merged report (docs/verdict.schema.json).
  returned: always
  type: dict
  sample: {schema: kvproof.verdict/1, verdict: pass}
kv_reuse_reports:
  description: Names of the files that were written.
  returned: always
  type: list
  elements: str
  sample: [verdict.json, junit.xml]
kv_reuse_reports_dir:
  description: Where they are.
  returned: always
  type: str
  sample: /home/me/reports/merged
kv_reuse_lang:
  description: The language of what people read.
  returned: always
  type: str
  sample: en
"""
