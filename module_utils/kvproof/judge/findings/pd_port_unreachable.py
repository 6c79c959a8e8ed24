# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sightings
from ._disagg import COVERS, EXPLAINS, sightings

FINDING = Finding(
    slug="pd-port-unreachable",
    link=5,
    kind="cause",
    rank=10,
    title="The prefill node cannot reach the decode node's PD ports",
    meaning="A prefill node that is sent to a port that it cannot reach hangs for good, and its /health stays 200.",
    evidence="A dial from the prefill node to the decode node's init and alloc ports.",
    remedy=(
        "Open pd_peer_init_port and pd_peer_alloc_port between the nodes, and set pd_peer_host to an address that "
        "prefill nodes reach."
    ),
    source="LMCache 0.5.6 v1/storage_backend/pd_backend_async.py:721",
    architectures=("lmcache_pd",),
    explains=EXPLAINS,
    covers=COVERS,
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    yield from sightings(case, ("dial",), "KV cannot be pushed there")
