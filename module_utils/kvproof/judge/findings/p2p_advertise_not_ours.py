# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ...stack.settings import LOOPBACK, WILDCARDS
from ..side import Side
from . import CERTAIN, HINT, LIKELY, Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="p2p-advertise-not-ours",
    link=5,
    kind="cause",
    rank=20,
    title="--p2p-advertise-url is not an address of its node",
    meaning=(
        "Peers ask and fetch at the advertised address. With localhost, a wildcard or another machine's address they "
        "find nobody, or themselves. Behind NAT it can be right; then the port's answer decides."
    ),
    evidence="--p2p-advertise-url against the addresses of the node, and a dial from the peer.",
    remedy="Start this node's lmcache server with --p2p-advertise-url IP:PORT of an address that its peers can reach.",
    source="LMCache 0.5.6 multiprocess/config.py:651",
    architectures=("mp",),
    covers=("p2p-port-unreachable",),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    names = [side.node.get("hostname") for side in case.sides]
    apart = None not in names and names[0] != names[1]
    for side, peer in zip(case.sides, reversed(case.sides)):
        advertised = (side.node.get("cache_server") or {}).get("advertised") or {}
        value, host = advertised.get("value"), advertised.get("host")
        dials = [d for d in peer.node.get("dials") or [] if value and d.get("to") == value]
        if any(d.get("state") == "open" for d in dials) and host not in LOOPBACK:
            continue
        if host in WILDCARDS or (host in LOOPBACK and apart):
            yield _sighting(side, value, "peers would ask themselves", CERTAIN)
        elif advertised.get("ours") is False:
            inside = (side.node.get("engine") or {}).get("other_namespace")
            known = HINT if inside else CERTAIN if dials else LIKELY
            yield _sighting(side, value, "the address belongs to another machine, or to none", known)
        elif dials and all(d.get("state") == "error" for d in dials):
            yield _sighting(side, value, f"{peer} finds no way to that address", LIKELY)


def _sighting(side: Side, value: str | None, reason: str, strength: str) -> Sighting:
    return Sighting(side.name, "an address of this node", f"--p2p-advertise-url {value}", reason, strength=strength)
