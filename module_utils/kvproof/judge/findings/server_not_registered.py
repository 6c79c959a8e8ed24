# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings
from ._servers import started_with, unregistered

FINDING = Finding(
    slug="server-not-registered",
    link=5,
    kind="cause",
    rank=40,
    title="A cache server is not registered with a coordinator",
    meaning="P2P is on, but without a coordinator the server knows no peer, and none knows it.",
    evidence="p2p_state in the server's /status, and --coordinator-url.",
    remedy="Start this node's lmcache server with --coordinator-url URL, and see that it reaches that address.",
    source="LMCache 0.5.6 mp_coordinator/registrar.py",
    architectures=("mp",),
    covers=("not-announced",),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    for side in unregistered(case):
        url = started_with(side, "coordinator-url")
        yield Sighting(
            side.name,
            "p2p_state: registered",
            f"p2p_state: {side.server.get('p2p_state')}, --coordinator-url {url or 'not seen'}",
            "the server has no peer",
        )
