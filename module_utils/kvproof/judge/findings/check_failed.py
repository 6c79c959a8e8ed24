# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import CHECK_FAILED, Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug=CHECK_FAILED,
    link=6,
    kind="validity",
    rank=98,
    title="A check of the evidence could not be made",
    meaning="kvproof itself failed at a part of this evidence, or does not know the architecture it names.",
    evidence="The check's own error.",
    remedy="Report the sentence and the evidence document; it is no fault of the cluster.",
    source="kvproof",
    covers=("experiment-incomplete",),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    for sentence in case.trouble:
        yield Sighting(case.receiver.name, "every check made", sentence, "what it would have found is unknown")
