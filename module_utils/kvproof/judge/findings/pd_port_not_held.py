# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sightings
from ._disagg import COVERS, EXPLAINS, sightings

FINDING = Finding(
    slug="pd-port-not-held",
    link=5,
    kind="cause",
    rank=5,
    title="The decode node's PD port is not its own",
    meaning=(
        "Nobody listens on a port that prefill nodes are sent to, or another process does. Without an answer on "
        "the init port a prefill node hangs for good while /health stays 200; with a wrong alloc port it delivers "
        "nothing until it is restarted. LMCache goes on without a word when it cannot bind one."
    ),
    evidence=(
        "Listening sockets of the decode node and the processes that have them, against pd_peer_host, "
        "pd_peer_init_port and pd_peer_alloc_port in force."
    ),
    remedy=(
        "Give every engine and rank on a host PD ports of its own and an address of the host in pd_peer_host, and "
        "restart the decode node; then restart prefill nodes that were sent to it meanwhile."
    ),
    source="LMCache 0.5.6 v1/storage_backend/pd_backend_async.py:707, :1190",
    architectures=("lmcache_pd",),
    explains=EXPLAINS,
    covers=COVERS,
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    yield from sightings(case, ("port", "host"), "a prefill node that is sent there hangs, or delivers nothing")
