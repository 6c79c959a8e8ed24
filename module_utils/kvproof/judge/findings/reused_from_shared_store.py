# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..apart import shared_store
from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="reused-from-shared-store",
    link=6,
    kind="validity",
    rank=25,
    title="The KV came from a shared store, not from the peer",
    meaning=(
        "The receiver loaded KV that no peer sent: a remote_url or shared disk answered. Reuse "
        "works, but P2P was not proven."
    ),
    evidence=(
        "Loaded tokens without a controller answer and without a request at the holder, and a "
        "remote or disk store in the configuration."
    ),
    remedy=(
        "If the shared store is what you want, set kv_reuse_source: any; to test P2P, probe a "
        "cluster (or an hour) without remote_url and shared disk."
    ),
    source="LMCache 0.5.6, order of backends",
    covers=("reused-locally-not-p2p", "reuse-absent"),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    local = [a for a in attempts if a.outcome == "local"]
    store = shared_store(case.receiver)
    if local and store:
        yield Sighting(
            case.receiver.name,
            f"KV sent by {case.holder}",
            f"{local[0].loaded} tokens loaded, {store} configured, {case.holder} was not asked",
            "the shared store answered first",
        )
