# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..counters import foreign_requests
from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="not-idle",
    link=6,
    kind="note",
    rank=90,
    title="Other traffic ran during the probe",
    meaning=(
        "The engine served requests that were not the probe's, so counters of this window prove "
        "nothing. Evidence by request id is not touched."
    ),
    evidence="Requests finished by the engine against requests sent by the probe.",
    remedy="None is needed; probe in a quiet hour if you want counters to agree.",
    source="kvproof",
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    for side in case.sides:
        others = foreign_requests(case, side)
        if others and others > 0:
            yield Sighting(
                side.name,
                "only the probe's requests",
                f"{others:.0f} others finished meanwhile",
                "counters include other traffic",
            )
