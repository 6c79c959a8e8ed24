# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="pd-transfer-failed",
    link=10,
    kind="cause",
    rank=20,
    title="The prefill node could not push the KV",
    meaning="The transfer to the decode node broke off. The prefill node answers 200, the decode node recomputes.",
    evidence="`Async transfer task failed` or an aborted push in the prefill node's log, for this run's requests.",
    remedy="Read the LMCache ERROR of the prefill node's log, and NIXL's and UCX's lines around it.",
    source="LMCache 0.5.6 v1/storage_backend/pd_backend_async.py:971",
    architectures=("lmcache_pd",),
    covers=("reuse-absent",),
    of_requests=True,
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    failed = lost(case)
    if failed:
        words = str(failed[0].get("text") or failed[0].get("line") or failed[0]["kind"])
        yield Sighting(case.holder.name, f"KV pushed to {case.receiver}", words, "its push of a seed was given up")


def lost(case: Case) -> list[dict]:
    """Why pushes of this run's seeds were given up: the line before each one's abort, of the holder's log."""
    reasons, found = [], []
    ids = [request_id for trial in case.trials for request_id in case.ids(trial.get("seed"))]
    ours = {id(event) for event in case.holder.events_of(tuple(ids), "pd_aborted")}
    for event in case.holder.events:
        if event.get("kind") in ("pd_transfer_failed", "pd_alloc_failed"):
            reasons.append(event)
        elif event.get("kind") == "pd_aborted":
            found += (reasons[-1:] or [event]) if id(event) in ours else []
            reasons = []
    return found
