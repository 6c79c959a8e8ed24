# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import CERTAIN, HINT, Attempt, Case, Finding, Sighting, Sightings
from ._contacts import reached_holder

FINDING = Finding(
    slug="p2p-bind-failed",
    link=3,
    kind="cause",
    rank=30,
    title="LMCache cannot listen on its P2P ports",
    meaning=(
        "Another process has the port, or p2p_host is no IPv4 address of this node. LMCache logs it, tries again ten "
        "times a second and serves on; the address is advertised all the same."
    ),
    evidence="`Peer request handler crashed` in the engine's log.",
    remedy=(
        "Address already in use: free p2p_init_ports and p2p_lookup_ports, or set others. Cannot assign requested "
        "address, or No such device: set p2p_host to an IPv4 address of this node. Then restart the engine."
    ),
    source="LMCache 0.5.6 p2p_backend.py:266; ZeroMQ sockets without IPv6",
    architectures=("inprocess_p2p",),
    explains=frozenset(["missed", "timed-out", "slow"]),
    covers=("p2p-port-unreachable", "peer-silent", "lookup-timed-out"),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    for side in case.sides:
        crashed = [e for e in side.log.get("head") or [] if e.get("kind") == "handler_crashed"]
        crashed += [e for e in side.events if e.get("kind") == "handler_crashed"]
        if crashed:
            serves = side is case.holder and not reached_holder(case, attempts)
            yield Sighting(
                side.name,
                "P2P ports that this engine listens on",
                str(crashed[-1].get("text")),
                "nothing can be fetched from this node" if serves else "but fetching from the peer does not need it",
                strength=CERTAIN if serves else HINT,
            )
