# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Finding, Sighting

UNSERVED = ("timed-out", "missed", "slow")


def look(case, attempts):
    for side in case.sides:
        lines = [e for e in side.events if e.get("kind") == "memory_pressure"]
        unserved = [a for a in attempts if a.outcome in UNSERVED]
        partial = [a for a in attempts if a.expected and a.outcome == "proven" and a.loaded < a.expected]
        if lines and (unserved or (partial and side is case.holder)):
            pool = side.setting("max_local_cpu_size")
            yield Sighting(
                side.name,
                "room in LMCache's CPU pool",
                f"{lines[-1].get('line') or lines[-1]['kind']} (max_local_cpu_size: {pool or 'unknown'})",
                "it has no room for the chunks it should keep"
                if side is case.holder
                else "it has no room for what a peer would send, and waits for some",
            )


FINDING = Finding(
    slug="pool-exhausted",
    link=7,
    kind="cause",
    rank=5,
    title="LMCache's CPU pool has no room",
    meaning=(
        "max_local_cpu_size is below what the prompts in flight need. A holder then stores the first chunks only, and "
        "a receiver waits for room until the lookup's time-out."
    ),
    evidence="`Local cpu memory under pressure` in the engine's log during the run.",
    remedy="Raise max_local_cpu_size (GB per rank) to several of your longest prompts, restart the engine.",
    source="LMCache 0.5.6 cache_engine.py:492, local_cpu_backend.py:719",
    look=look,
    architectures=("inprocess_p2p",),
    explains=frozenset(["missed", "timed-out", "slow"]),
    covers=("nothing-stored", "not-announced", "peer-silent", "lookup-timed-out"),
)
