# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..output import nonsense
from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="answer-not-sensible",
    link=12,
    kind="note",
    rank=30,
    title="The answer is not a sensible one",
    meaning=(
        "The answer is empty, has no finish reason or repeats one token. When the recompute says "
        "the same, it is the model, not the reuse."
    ),
    evidence="Text and finish reason of the reuse request and of its recompute.",
    remedy=(
        "Look at the text. If the recompute is sensible, treat it as damaged KV; if not, look at "
        "the model, its chat template and sampling."
    ),
    source="kvproof",
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    for trial in case.trials:
        bad = nonsense(trial.get("reuse"))
        if bad:
            again = nonsense(trial.get("knockout"))
            reason = (
                "the recompute answers no better: it is the model, not the reuse"
                if again
                else "the recompute answers sensibly, or there is none to compare with"
            )
            yield Sighting(case.receiver.name, "text with a finish reason", bad, reason)
            return
