# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="model-not-served",
    link=2,
    kind="failure",
    rank=20,
    title="The model is not served here",
    meaning="The engine answers, but does not serve the model that was asked for.",
    evidence="/v1/models lists what is served.",
    remedy="Set kv_reuse_model to a name that /v1/models lists, or start the engine with --served-model-name.",
    source="kvproof",
    covers=("engine-errors", "reuse-absent", "experiment-incomplete"),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    for side in case.sides:
        engine = side.engine
        answered = any(r.get("engine") == side.role and not r.get("error") for r in case.requests())
        if engine.get("reachable") and engine.get("models") and engine.get("model") is None and not answered:
            yield Sighting(
                side.name,
                "the model in /v1/models",
                "served: " + ", ".join(str(name) for name in engine["models"]),
                "another model is deployed on this engine",
            )
