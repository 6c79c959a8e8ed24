# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..apart import ANY, why_unproven
from ..attempt import REUSED
from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="other-engine-unproven",
    link=6,
    kind="validity",
    rank=22,
    title="That another engine had made the KV is not proven",
    meaning=(
        "KV may come from anywhere (kv_reuse_source: any), and tokens were reused. But it is not shown that the seeds "
        "went to another engine than their reuse, so the receiver may have made the KV itself."
    ),
    evidence=(
        "vllm:prompt_tokens_total of both engines before, between and after seeds and reuses, "
        "process_start_time_seconds, and the ids in both logs."
    ),
    remedy=(
        "Probe while both engines are idle, each by its own URL and its own /metrics (kv_reuse_metrics_url), or let "
        "kvproof read the logs of both (kv_reuse_log)."
    ),
    source="kvproof",
    covers=("reuse-unattributed", "reused-locally-not-p2p", "reused-from-shared-store", "reuse-absent"),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    left = [a for a in attempts if a.outcome in REUSED - {"proven"}]
    if case.source == ANY and left:
        yield Sighting(
            case.receiver.name,
            f"seeds that {case.holder} alone computed",
            f"{left[0].loaded} tokens reused",
            why_unproven(case, left),
        )
