# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ...stack.lines.lmcache_pd import DISCONNECTED
from . import Attempt, Case, Finding, Sighting, Sightings
from .pd_transfer_failed import lost

FINDING = Finding(
    slug="pd-receiver-restarted",
    link=10,
    kind="cause",
    rank=5,
    title="The prefill node still pushes to the decode node as it was before its restart",
    meaning=(
        "A prefill node meets a decode node once and keeps the connection for good. After the decode node was "
        "restarted every push to it fails, and the decode node recomputes and answers 200."
    ),
    evidence="`NIXL_ERR_REMOTE_DISCONNECT` in the prefill node's log for this run's requests.",
    remedy="Restart the prefill node, and whenever a decode node was restarted all prefill nodes that had met it.",
    source="LMCache 0.5.6 v1/storage_backend/pd_backend_async.py:703, as seen on real engines",
    architectures=("lmcache_pd",),
    covers=("reuse-absent", "pd-transfer-failed", "nothing-stored"),
    of_requests=True,
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    gone = [event for event in lost(case) if DISCONNECTED in (event.get("text") or "")]
    if gone:
        yield Sighting(
            case.holder.name,
            f"KV pushed to {case.receiver}",
            str(gone[0].get("text")),
            f"{case.receiver} was restarted since {case.holder} met it",
        )
