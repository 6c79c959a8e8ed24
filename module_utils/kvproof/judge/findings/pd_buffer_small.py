# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="pd-buffer-small",
    link=10,
    kind="cause",
    rank=4,
    title="The decode node's PD buffer does not hold the prompt",
    meaning=(
        "A decode node takes a prompt's KV as a whole or not at all. Where its buffer is smaller, the prefill node "
        "gives the push up, and the decode node recomputes and answers 200."
    ),
    evidence="`PD receiver buffer too small` in the decode node's log, for this run's requests.",
    remedy=(
        "Raise pd_buffer_size on the decode node to what its longest prompts need, and restart it; pd_max_prefill_len "
        "makes LMCache check that at start."
    ),
    source="LMCache 0.5.6 v1/storage_backend/pd_backend_async.py:1319",
    architectures=("lmcache_pd",),
    covers=("reuse-absent", "pd-transfer-failed"),
    of_requests=True,
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    ids = tuple(request_id for trial in case.trials for request_id in case.ids(trial.get("seed")))
    small = case.receiver.events_of(ids, "pd_buffer_small")
    if small:
        asked, chunks = small[0].get("asked") or 0, small[0].get("chunks") or 0
        yield Sighting(
            case.receiver.name,
            f"a buffer for {asked:.0f} chunks",
            f"{chunks:.0f} chunks (pd_buffer_size)",
            "this prompt can never be pushed there",
        )
