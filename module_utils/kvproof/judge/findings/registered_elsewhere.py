# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import HINT, Attempt, Case, Finding, Sighting, Sightings, strength
from ._contacts import reached_holder

FINDING = Finding(
    slug="registered-elsewhere",
    link=5,
    kind="cause",
    rank=45,
    title="The controller has an old address of this node",
    meaning=(
        "A restarted engine with the same instance id keeps the address of its first registration at the controller; "
        "peers dial where nothing listens any more."
    ),
    evidence="peer_init_url at the controller against p2p_host and p2p_init_ports of the node.",
    remedy="Restart the controller and then the engines, or give the engine a new lmcache_instance_id.",
    source="LMCache 0.5.6; `already registered, skip registration`",
    architectures=("inprocess_p2p",),
    explains=frozenset(["missed", "timed-out", "slow"]),
    covers=("p2p-port-unreachable", "peer-silent", "lookup-timed-out"),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    for side in case.sides:
        host, ports = side.setting("p2p_host"), side.setting("p2p_init_ports")
        listed = {w["peer_init_url"] for w in case.workers or [] if _is(w, side) and w.get("peer_init_url")}
        if not listed or not (host and host.value) or ports is None or ports.value is None:
            continue
        own = {f"{host.value}:{port}" for port in _ports(ports.value)}
        if not listed & own:
            works = side is case.holder and reached_holder(case, attempts)
            yield Sighting(
                side.name,
                " or ".join(sorted(own)),
                ", ".join(sorted(listed)) + " at the controller",
                "peers are sent to an address that this engine does not use",
                strength=HINT if works else strength(side.identity, host, ports),
            )


def _is(worker, side) -> bool:
    return bool(side.instance_id) and worker.get("instance_id") == side.instance_id


def _ports(value) -> list[str]:
    return [str(port).strip() for port in (value if isinstance(value, list) else str(value).split(","))]
