# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="engine-unreachable",
    link=1,
    kind="failure",
    rank=10,
    title="The engine's API does not answer",
    meaning="Nothing could be sent to this engine, so nothing was proven.",
    evidence="The first HTTP request to kv_reuse_url got no answer: no such name, refused, timed out or TLS failed.",
    remedy=(
        "Check that the engine runs, that kv_reuse_url names the right address and port, and that "
        "the machine that runs the playbook can reach it."
    ),
    source="kvproof",
    covers=(
        "engine-errors",
        "model-not-served",
        "lmcache-degraded",
        "not-registered",
        "p2p-port-unreachable",
        "reuse-absent",
        "experiment-incomplete",
        "metrics-missing",
    ),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    for side in case.sides:
        if side.engine.get("reachable") is False:
            yield Sighting(
                side.name,
                "an HTTP answer from " + str(side.engine.get("url")),
                str((side.engine.get("error") or {}).get("text") or "none"),
                "the engine's API could not be reached",
            )
