# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..pasted import HINT, Line
from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="config-key-unknown",
    link=4,
    kind="cause",
    rank=60,
    title="LMCache does not know a key of its configuration",
    meaning=(
        "LMCache warns about a key that it does not know, and ignores it: what the key was meant to set keeps its "
        "default."
    ),
    evidence="`Unknown configuration key` in the log.",
    remedy="Correct the key's spelling in the LMCache YAML, restart the engine.",
    source="LMCache 0.5.6",
    explains=frozenset([]),
    cause_class="CONFIG_KEY",
    cannot="Whether that matters to what was pasted.",
    pasted=Line("config_key_unknown", strength=HINT),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    for side in case.sides:
        keys = sorted({str(e.get("key")) for e in side.head("config_key_unknown")})
        if keys:
            yield Sighting(
                side.name,
                "keys that LMCache knows",
                "unknown: " + ", ".join(keys),
                "LMCache ignores keys it does not know",
            )
