# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re

from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="versions-differ",
    link=4,
    kind="note",
    rank=70,
    title="The nodes run different versions",
    meaning="Chunk keys, messages and formats change between versions; mixed fleets are where reuse breaks first.",
    evidence="Versions as the internal API or the log tells them.",
    remedy="Run the same LMCache and vLLM on every node.",
    source="kvproof",
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    for product in ("lmcache", "vllm"):
        holder, receiver = (side.version(product) for side in case.sides)
        if holder and receiver and _apart(holder, receiver):
            yield Sighting(
                case.receiver.name,
                f"{product} {holder}, as on {case.holder}",
                f"{product} {receiver}",
                "the versions differ",
            )


def _apart(left: str, right: str) -> bool:
    """The log tells the build, too (0.5.6-g3e11e108), the internal API the release alone."""
    builds = [re.split(r"[-+]g", version, maxsplit=1) for version in (left, right)]
    return builds[0][0] != builds[1][0] or (len(builds[0]) == len(builds[1]) == 2 and builds != builds[::-1])
