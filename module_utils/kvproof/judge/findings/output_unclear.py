# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..output import case_output
from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="output-unclear",
    link=12,
    kind="validity",
    rank=20,
    title="Whether the reused output is right could not be told",
    meaning=(
        "Reuse was seen, but its output could not be compared with a recompute, or the difference "
        "lies between noise and damage."
    ),
    evidence="Log-probabilities of reuse and recompute.",
    remedy="Allow logprobs on the engine (--max-logprobs), raise kv_reuse_trials, or compare answers by hand.",
    source="kvproof",
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    verdict = case_output(case, attempts)
    if any(a.outcome == "proven" for a in attempts) and verdict.state in ("unclear", "unread"):
        yield Sighting(
            case.receiver.name, "a comparison with a recompute", verdict.text, "right and wrong could not be told apart"
        )
