#!/usr/bin/python
# Copyright: the kvproof authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of an action: this module never runs, action_plugins/kv_reuse_compare.py does all of it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kv_reuse_compare
short_description: Compares the reports of two runs
version_added: 0.2.0
description:
  - Reads C(verdict.json) of two runs over the same nodes, and says of each pair what became of it from the first to the
    second, on the terminal, worst first, and in two files.
  - Fails when a pair is broken, no longer proven or no longer judged in the second run.
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
  a:
    description: Folder or file of the run before.
    type: str
    required: true
  b:
    description: Folder or file of the run after.
    type: str
    required: true
  reports_dir:
    description: Where C(compare.json) and C(compare.md) are written.
    type: str
    default: reports/compared
"""

EXAMPLES = r"""
- name: Compare the runs before and after a roll-out
  kvproof.cluster.kv_reuse_compare:
    a: reports/before
    b: reports/after
  run_once: true
  delegate_to: localhost
"""

RETURN = r"""
kv_reuse_compared:
  description: The comparison, every pair with what became of it.
  returned: always
  type: dict
  sample: {schema: kvproof.comparison/1, worse: false, counts: {fixed: 1}, changes: []}
kv_reuse_reports:
  description: The files that were written.
  returned: always
  type: list
  elements: str
  sample: [/home/me/reports/compared/compare.json]
"""
