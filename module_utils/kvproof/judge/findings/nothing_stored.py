# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="nothing-stored",
    link=7,
    kind="cause",
    rank=10,
    title="The holder stored nothing",
    meaning="The holder answered the prompt but its LMCache wrote no `Stored` line for it.",
    evidence="`Stored` lines of the seed request in the holder's log.",
    remedy="Check kv_role (kv_both or kv_producer), save settings and the size of the CPU pool on the holder.",
    source="LMCache 0.5.6 cache_engine.py",
    of_requests=True,
    covers=("not-announced",),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    read = [a for a in attempts if a.stored is not None and a.outcome in ("missed", "timed-out", "slow")]
    if read and all(a.stored == 0 and a.expected for a in read):
        yield Sighting(
            case.holder.name,
            f"Stored {read[0].expected} tokens or more",
            "its server wrote no chunk" if case.holder.server else "no Stored line for the seed requests",
            "the holder's LMCache kept nothing of these prompts",
        )
