# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="reuse-intermittent",
    link=9,
    kind="validity",
    rank=60,
    title="The fresh prompts do not agree, or are too few",
    meaning=(
        "Fresh prompts sent under the same conditions ended differently, and not by time-outs alone, or there was "
        "only one: neither reuse nor its absence is proven."
    ),
    evidence="Outcomes of the trials.",
    remedy=(
        "Run with more kv_reuse_trials; look at the receiver's log of the lost ones, and at the size of the CPU pools."
    ),
    source="kvproof",
)


LOST = frozenset({"proven", "timed-out", "slow"})  # lookup-timed-out tells of these


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    outcomes = {a.outcome for a in attempts}
    counts = ", ".join(f"{sum(1 for a in attempts if a.outcome == o)} {o}" for o in sorted(outcomes))
    if len(outcomes) > 1 and not outcomes <= LOST:
        yield Sighting(
            case.receiver.name, "every fresh prompt reused", counts, "the reason is not the lookup time-out alone"
        )
    elif outcomes == {"missed"} and len(attempts) == 1:
        yield Sighting(
            case.receiver.name,
            "at least two fresh prompts that agree",
            "one, which was recomputed",
            "one trial cannot tell chance from fault",
        )
    elif outcomes == {"missed"} and any(a.expected is None for a in attempts):
        yield Sighting(
            case.receiver.name,
            "a prompt whose chunks are known",
            counts,
            "neither the chunk size nor the prompt's length is known, so there may have been nothing to reuse",
        )
    elif outcomes == {"load-failed"} and len(attempts) == 1:
        yield Sighting(case.receiver.name, "at least two fresh prompts that agree", counts, "one trial is no proof")
