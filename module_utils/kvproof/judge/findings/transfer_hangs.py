# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings
from ._transfers import transfers_of

FINDING = Finding(
    slug="transfer-hangs",
    link=10,
    kind="cause",
    rank=10,
    title="The holder takes the request and never finishes it",
    meaning=(
        "The receiver's request arrived at the holder, whose transfer does not end. LMCache serves one request after "
        "another, so all later ones wait behind it."
    ),
    evidence="`Received P2P batched lookup` in the holder's log without a `P2P transfer finished` after it.",
    remedy=(
        "Check the transport under NIXL (UCX_TLS, UCX_NET_DEVICES, the route between the nodes) with NIXL's own "
        "benchmark, then restart the holder's engine."
    ),
    source="LMCache 0.5.6 p2p_backend.py:383; LMCache#725",
    architectures=("inprocess_p2p",),
    explains=frozenset(["timed-out", "slow"]),
    covers=("peer-silent", "lookup-timed-out"),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    begun = transfers_of(case, case.requests())
    lost = attempts and all(a.outcome in ("timed-out", "slow") for a in attempts)
    if lost and begun and all(transfer.finished_s is None for transfer in begun):
        yield Sighting(
            case.holder.name,
            "`P2P transfer finished` after the request",
            f"{len(begun)} requests of this run taken, none finished",
            "the holder is stuck in the first one and serves one peer at a time",
        )
