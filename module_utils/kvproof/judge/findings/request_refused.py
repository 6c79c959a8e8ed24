# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="request-refused",
    link=2,
    kind="validity",
    rank=10,
    title="The API refuses the probe's key",
    meaning="The engine answers 401 or 403: the probe has no right to use it, which says nothing about the cluster.",
    evidence="HTTP status of the first request.",
    remedy="Set kv_reuse_api_key (vaulted) to a key that may call /v1/models and /v1/completions on this engine.",
    source="kvproof",
    covers=("engine-errors", "reuse-absent", "experiment-incomplete"),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    for side in case.sides:
        errors = [side.engine.get("error")] + [r.get("error") for r in case.requests() if r.get("engine") == side.role]
        refused = next((e for e in errors if e and e.get("status") in (401, 403)), None)
        if refused and not any(a.outcome == "proven" for a in attempts):
            yield Sighting(
                side.name, "an answer with status 200", str(refused.get("text")), "the key is missing or wrong"
            )
