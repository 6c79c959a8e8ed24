#!/usr/bin/python
# Copyright: the kvproof authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of an action: this module never runs, action_plugins/kv_reuse_diagnose.py does all of it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kv_reuse_diagnose
short_description: Judges a saved bundle again, or says what pasted material allows to conclude
version_added: 0.1.0
description:
  - Reads files on the controller, shows and writes what they prove, and asks no cluster.
  - Fails unless a bundle's verdict is a pass. Pasted material can name a cause and never proves reuse, so it always
    fails.
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
  bundle:
    description: A run's C(bundle.json.gz).
    type: str
  reports_dir:
    description: Where to write. C(reports/diagnosis) unless given.
    type: str
  lang:
    description: The language of what people read, as C(kv_reuse_lang) has it; a diagnosis of pasted text is in English.
    type: str
    choices: [en, ja]
    default: en
  paste:
    description: File with pasted text of any kind, such as an issue.
    type: str
  engine_log:
    description: File with the log of an engine that may be of either kind.
    type: str
  engine_config:
    description: >-
      File with the LMCache configuration of an engine that may be of either kind.
    type: str
  engine_metrics:
    description: >-
      File with the page of metrics of an engine that may be of either kind.
    type: str
  prefill_log:
    description: File with the log of the prefill node.
    type: str
  prefill_config:
    description: File with the LMCache configuration of the prefill node.
    type: str
  prefill_metrics:
    description: File with the page of metrics of the prefill node.
    type: str
  decode_log:
    description: File with the log of the decode node.
    type: str
  decode_config:
    description: File with the LMCache configuration of the decode node.
    type: str
  decode_metrics:
    description: File with the page of metrics of the decode node.
    type: str
  controller_log:
    description: File with the log of the LMCache controller.
    type: str
"""

EXAMPLES = r"""
- name: Judge a run again
  kvproof.cluster.kv_reuse_diagnose:
    bundle: reports/bundle.json.gz

- name: Say what the log and the settings of a decode node allow to conclude
  kvproof.cluster.kv_reuse_diagnose:
    decode_log: decode.log
    decode_config: lmcache.yaml
"""

RETURN = r"""
kv_reuse_same_verdict:
  description: Whether the verdict is the run's, byte for byte.
  returned: with O(bundle)
  type: bool
  sample: true
kv_reuse_cause_class:
  description: The class of the cause that pasted material shows.
  returned: with pasted material
  type: str
  sample: ASYNC_OFF
"""
