# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="reuse-absent",
    link=9,
    kind="failure",
    rank=99,
    title="The KV was not reused",
    meaning=(
        "Fresh prompts were stored on the holder and then recomputed by the receiver. Nothing "
        "that was read names the reason."
    ),
    evidence="Every trial of a valid experiment ended without reuse.",
    remedy=(
        "Follow the chain from its first broken link; with access to both logs and the controller kvproof can say more."
    ),
    source="kvproof",
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    missed = [a for a in attempts if a.outcome == "missed" and a.expected and not a.disturbed]
    if len(missed) >= 2 and len(missed) == len(attempts):
        yield Sighting(
            case.receiver.name,
            f"{missed[0].expected} tokens reused",
            "0 tokens reused",
            f"{len(missed)} of {len(attempts)} fresh prompts were recomputed",
        )
