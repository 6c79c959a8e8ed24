# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="engine-not-registered",
    link=3,
    kind="failure",
    rank=4,
    title="The engine is not registered with its cache server",
    meaning=(
        "The server was started again, so fast that the engine's heartbeat (10 s) did not notice: the server knows "
        "nothing of the engine, the engine does not register again, and its next request hangs it for up to 300 s. "
        "/healthcheck and /health are 200 all the while."
    ),
    evidence="The registered ids in the server's /status, against instance_id in the engine's log.",
    remedy="Restart the engine, now and whenever its lmcache server is restarted.",
    source="LMCache 0.5.6 vllm_multi_process_adapter.py:599, 1751; seen on real engines",
    architectures=("mp",),
    covers=("requests-withheld", "experiment-incomplete", "engine-errors", "reuse-absent"),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    if any(a.outcome == "proven" for a in attempts):
        return
    for side in case.sides:
        engines, wanted = side.server.get("engines"), (side.node.get("cache_server") or {}).get("wanted") or {}
        is_its_own = wanted.get("port") is not None and wanted["port"] == side.server.get("port")
        if engines is None or not is_its_own or wanted.get("ours") is False:
            continue
        if side.uses_its_server is False or not engines:
            yield Sighting(
                side.name,
                f"instance_id {', '.join(sorted(side.registered_as)) or 'of the engine'} registered with its server",
                f"registered there: {', '.join(engines) or 'none'}",
                "a request would hang the engine",
            )
