# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="cache-server-mistaken",
    link=6,
    kind="validity",
    rank=3,
    voids=True,
    title="The cache server that was read is another engine's",
    meaning="What it counts and says tells nothing of this engine, nor whether this engine's own server is healthy.",
    evidence="The port in the engine's connector against the server's own, and instance_id in the engine's log.",
    remedy="Correct kv_reuse_mp_url: the HTTP API of the lmcache server that lmcache.mp.host and lmcache.mp.port name.",
    source="kvproof",
    architectures=("mp",),
    covers=("requests-withheld", "experiment-incomplete", "controls-unread"),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    for side in case.sides:
        wanted, port = (side.node.get("cache_server") or {}).get("wanted") or {}, side.server.get("port")
        other = wanted.get("port") is not None and port is not None and wanted["port"] != port
        if other and side.uses_its_server is not True:
            yield Sighting(
                side.name,
                f"the server at {wanted.get('host')}:{wanted['port']}",
                f"one whose message queue is at {side.server.get('host')}:{port}",
                "the engine's connector talks to another",
            )
