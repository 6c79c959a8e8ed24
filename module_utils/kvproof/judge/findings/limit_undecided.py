# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..limits import UNDECIDED, checked
from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="limit-undecided",
    link=13,
    kind="note",
    rank=20,
    title="Too few measurements to decide on a limit",
    meaning="The interval of what was measured holds the limit, so neither meeting nor missing it is shown.",
    evidence="The bootstrap interval of speedup or time to the first token over the prompts proven to be reused.",
    remedy="Raise kv_reuse_trials (10 make the interval about three times as narrow as 3), or measure an idle pair.",
    source="kv_reuse_min_speedup, kv_reuse_max_ttft_ms",
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    for limit in checked(case, attempts):
        if limit.state == UNDECIDED:
            reason = f"{limit.name} lies within the interval, or there is none: more trials are needed"
            yield Sighting(case.receiver.name, limit.expected, limit.observed, reason)
