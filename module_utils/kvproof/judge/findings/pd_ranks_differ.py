# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sightings
from ._disagg import COVERS, EXPLAINS, sightings

FINDING = Finding(
    slug="pd-ranks-differ",
    link=4,
    kind="cause",
    rank=6,
    title="The ranks of both engines do not fit together",
    meaning=(
        "Rank N of a prefill node pushes to rank N of the decode node, on the port of its number. Another number "
        "of ranks makes other chunk keys, and a rank without a port ends the prefill node."
    ),
    evidence="world_size of both, and the number of pd_peer_init_port and pd_peer_alloc_port.",
    remedy=(
        "Start both with the same --tensor-parallel-size, and give the decode node as many ports of each kind as "
        "it has ranks."
    ),
    source="LMCache 0.5.6 v1/storage_backend/pd_backend_async.py:1068",
    architectures=("lmcache_pd",),
    explains=EXPLAINS,
    covers=(*COVERS, "kv-format-differs"),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    yield from sightings(case, ("ranks",), "ranks without a counterpart can share no KV")
