# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ...stack.versions import READ, unread
from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="version-unknown",
    link=4,
    kind="note",
    rank=75,
    title="A release that kvproof does not know",
    meaning=(
        "It is used all the same. What its logs and metrics say in other words than before is not seen, so a link may "
        "stay unknown; none is taken for broken because of it."
    ),
    evidence="Versions as the engine, its internal API or its log tells them, against those whose sources were read.",
    remedy="See whether a newer kvproof knows it; where the verdict is inconclusive, report the release.",
    source="stack/versions.py",
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    for side in case.sides:
        for product, releases in READ.items():
            version = side.version(product)
            age = unread(product, version)
            if age:
                yield Sighting(
                    side.name,
                    f"{product} {releases[0]} to {releases[-1]}",
                    f"{product} {version}",
                    f"it is {age} than every release whose sources were read",
                )
