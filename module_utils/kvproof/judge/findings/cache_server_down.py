# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="cache-server-down",
    link=3,
    kind="failure",
    rank=2,
    title="The engine's cache server does not run",
    meaning=(
        "In multiprocess mode the engine leaves its KV to the lmcache server of its node. Without it a request hangs "
        "the engine for up to mq_timeout (300 s) while /health stays 200, so none was sent."
    ),
    evidence="Nobody listens where the engine's connector looks for the server, or its /healthcheck does not say 200.",
    remedy="Start this node's lmcache server, and then its engine again: one that has hung does not always come back.",
    source="LMCache 0.5.6 vllm_multi_process_adapter.py:229, 614",
    architectures=("mp",),
    covers=("requests-withheld", "experiment-incomplete", "engine-errors", "engine-not-registered", "reuse-absent"),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    if any(a.outcome == "proven" for a in attempts):
        return
    for side in case.sides:
        beside, probed = side.node.get("cache_server") or {}, side.engine.get("cache_server") or {}
        wanted = beside.get("wanted") or {}
        if (beside.get("process") or {}).get("running") is False and wanted.get("ours") is not False:
            observed = f"nobody listens at {wanted.get('host')}:{wanted.get('port')}"
        elif any(document.get("healthy") is False for document in side.server_readings):
            observed = "its /healthcheck says that it is not"
        else:
            continue
        yield Sighting(
            side.name,
            "a healthy lmcache server beside the engine",
            probed.get("down") or observed,
            "the engine's connector waits for it",
        )
