# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ...stack.architectures import IN_PROCESS, of_node
from . import CERTAIN, HINT, Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="connector-mixed",
    link=3,
    kind="cause",
    rank=6,
    title="A cache server runs, and the engine does not use it",
    meaning=(
        "lmcache server belongs to the multiprocess mode, LMCacheConnectorV1 keeps LMCache in the engine's process. "
        "Together they start, answer, and share nothing."
    ),
    evidence="An lmcache server without any engine beside this one, and the connector of the engine's command line.",
    remedy=(
        'Start vLLM with --kv-transfer-config \'{"kv_connector": "LMCacheMPConnector", "kv_role": "kv_both", …}\' and '
        "the server's lmcache.mp.host and lmcache.mp.port, or stop the server and set the in-process P2P up."
    ),
    source="LMCache#4213",
    architectures=("inprocess_p2p",),
    covers=("p2p-disabled",),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    for side in case.sides:
        server, engine = side.node.get("cache_server") or {}, of_node(side.node)
        if server.get("wanted") or not (server.get("process") or {}).get("running") or engine.connector != IN_PROCESS:
            continue
        others = (server.get("facts") or {}).get("engines")
        if others:
            continue  # it is another engine's of this machine
        p2p = side.flag("enable_p2p")
        yield Sighting(
            side.name,
            "LMCacheMPConnector in --kv-transfer-config, or no lmcache server",
            f"{IN_PROCESS}, and lmcache server runs (pid {server['process'].get('pid')})",
            "the engine never talks to it",
            strength=HINT if others is None or (p2p and p2p.value) else CERTAIN,
        )
