# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..dialects import dialect_of
from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="control-hit",
    link=6,
    kind="validity",
    rank=50,
    title="A control request hit the cache",
    meaning=(
        "A prompt that nobody can have cached, or that was made to miss, shows a hit: hits on "
        "this cluster do not mean what they should."
    ),
    evidence="Lookup line or cached_tokens of the never-seen and the knock-out request.",
    remedy=(
        "Find what answers: a router that rewrites prompts, a cache shared across tags, a server "
        "that reports cached_tokens wrongly."
    ),
    source="kvproof",
    voids=True,
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    never = dialect_of(case).never_seen_hit(case)
    if never:
        yield Sighting(
            case.receiver.name,
            "no hit for a never-seen prompt",
            f"{never} tokens hit",
            "hits are reported where there can be none",
        )
    hit = next((a.control_hits["knockout"] for a in attempts if a.control_hits.get("knockout")), None)
    if hit:
        yield Sighting(
            case.receiver.name,
            "no hit for the knocked-out prompt",
            f"{hit} tokens hit",
            "the knock-out was not honoured, so it is no recompute to compare with",
        )
