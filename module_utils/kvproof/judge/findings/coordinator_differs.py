# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings
from ._servers import started_with

FINDING = Finding(
    slug="coordinator-differs",
    link=5,
    kind="cause",
    rank=15,
    title="The two cache servers have different coordinators",
    meaning="A server learns of the servers at its own coordinator alone.",
    evidence="--coordinator-url of both servers' command lines, and the peers that each has.",
    remedy="Start every lmcache server of a cluster with the same --coordinator-url.",
    source="LMCache 0.5.6 multiprocess/config.py:776",
    architectures=("mp",),
    covers=("server-not-registered", "not-announced"),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    holder, receiver = (str(started_with(side, "coordinator-url") or "").rstrip("/") for side in case.sides)
    met = case.holder.instance_id in (case.receiver.server.get("p2p_peers") or [])
    if holder and receiver and holder != receiver and not met:
        yield Sighting(
            case.receiver.name,
            f"--coordinator-url {holder}, as on {case.holder}",
            f"--coordinator-url {receiver}",
            f"{case.receiver}'s server does not have {case.holder.instance_id or case.holder} among its peers",
        )
