# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import PROOF, SETTING, Sign, Signature, matching


def look(material):
    for role, line in matching(material, r"PD only supports enable_p2p=False"):
        yield Sign(role, line, PROOF)
        return
    for told in material.told:
        if any(told.values("enable_pd") == told.values("enable_p2p") == [value] for value in (True, "true", "True")):
            yield Sign(told.role, "enable_pd: true and enable_p2p: true", SETTING)


SIGNATURE = Signature(
    slug="pd-and-p2p",
    cause_class="CONFIG_KEY",
    title="enable_pd and enable_p2p exclude each other",
    proves="LMCache asserts that enable_p2p is false when enable_pd is true, and does not start with both.",
    cannot="Which of the two was wanted.",
    remedy="Set enable_pd: false for P2P sharing, or enable_p2p: false for LMCache's prefill/decode transfer.",
    source="LMCache 0.5.6 v1/config.py:761",
    look=look,
)
