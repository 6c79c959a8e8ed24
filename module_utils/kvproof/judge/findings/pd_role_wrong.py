# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sightings
from ._disagg import COVERS, EXPLAINS, sightings

FINDING = Finding(
    slug="pd-role-wrong",
    link=4,
    kind="cause",
    rank=2,
    title="The prefill node does not send, or the decode node does not receive",
    meaning=(
        "In LMCache's prefill/decode transfer a prefill node pushes KV (pd_role: sender) and a decode node takes "
        "it (pd_role: receiver). With two of one kind nobody pushes, or nobody takes."
    ),
    evidence="pd_role in force of both nodes, from the internal API or the engine's log.",
    remedy=(
        "Set pd_role: sender and kv_role kv_producer on prefill nodes, pd_role: receiver and kv_role kv_consumer "
        "on decode nodes, restart them, and check the inventory's groups."
    ),
    source="LMCache 0.5.6 v1/storage_backend/pd_backend.py:103",
    architectures=("lmcache_pd",),
    explains=EXPLAINS,
    covers=(*COVERS, "architecture-differs"),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    yield from sightings(case, ("role",), "these two have no way to share KV")
