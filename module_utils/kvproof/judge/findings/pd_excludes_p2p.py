# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..pasted import SETTING, Sign
from . import Attempt, Case, Finding, Sighting, Sightings, strength

FINDING = Finding(
    slug="pd-excludes-p2p",
    link=4,
    kind="cause",
    rank=5,
    title="enable_pd and enable_p2p exclude each other",
    meaning="LMCache asserts that enable_p2p is false when enable_pd is true; an engine with both exits at start.",
    evidence="The LMCache YAML has both, or the log has the assertion.",
    remedy="Set enable_pd: false for P2P sharing, or enable_p2p: false for LMCache's prefill/decode transfer.",
    source="LMCache 0.5.6 v1/config.py:761",
    architectures=("inprocess_p2p",),
    explains=frozenset(["engine-down", "missed", "timed-out", "slow"]),
    covers=("engine-unreachable", "engine-errors", "process-unreadable", "experiment-incomplete"),
    cause_class="CONFIG_KEY",
    cannot="Which of the two was wanted.",
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    for side in case.sides:
        pd, p2p = side.flag("enable_pd"), side.flag("enable_p2p")
        if pd and p2p and pd.value and p2p.value:
            yield Sighting(
                side.name,
                "one of enable_pd and enable_p2p",
                "enable_pd: true and enable_p2p: true",
                "LMCache refuses to start with both",
                strength=strength(pd, p2p),
            )
        elif side.head("pd_p2p_conflict"):
            yield Sighting(
                side.name,
                "one of enable_pd and enable_p2p",
                str(side.head("pd_p2p_conflict")[-1].get("line")),
                "LMCache refuses to start with both",
            )


def pasted(material):
    for role, line in material.lines("pd_p2p_conflict"):
        yield Sign(role, line)
        return
    for node in material.nodes:
        if any(node.values("enable_pd") == node.values("enable_p2p") == [value] for value in (True, "true", "True")):
            yield Sign(node.role, "enable_pd: true and enable_p2p: true", SETTING)
