# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import CERTAIN, LIKELY, Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="p2p-backend-missing",
    link=3,
    kind="cause",
    rank=20,
    title="LMCache runs without its P2P backend",
    meaning="The configuration asks for P2P, but no P2PBackend was created.",
    evidence="/backends, or the `Created backend` lines in the log's head.",
    remedy="Look for an LMCache ERROR at start-up (transfer channel, NIXL, address in use), correct it, restart.",
    source="LMCache 0.5.6, storage_manager",
    architectures=("inprocess_p2p",),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    for side in case.sides:
        p2p, backends = side.flag("enable_p2p"), side.backends
        if backends and p2p and p2p.value and p2p.certain and "P2PBackend" not in backends:
            listed = (side.node.get("internal_api") or {}).get("state") == "ok" or side.engine.get("internal")
            yield Sighting(
                side.name,
                "P2PBackend among the backends",
                "backends: " + ", ".join(str(name) for name in backends),
                "the P2P backend was not created",
                strength=CERTAIN if listed else LIKELY,  # the log's head may have been cut before the line
            )
