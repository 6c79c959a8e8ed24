# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sightings
from ._limits import missed

FINDING = Finding(
    slug="ttft-above-limit",
    link=13,
    kind="failure",
    rank=10,
    title="Reuse works, but its first token comes later than your limit",
    meaning=(
        "An operator's limit: the time to the first token of reused prompts has to stay within kv_reuse_max_ttft_ms. "
        "Looked for only where that is set."
    ),
    evidence=(
        "Time to the first token of the prompts proven to be reused, its median and a bootstrap interval, widened for "
        "few trials; missed only where the whole interval lies above the limit."
    ),
    remedy="Look at transport, queue and load of both nodes, or raise kv_reuse_max_ttft_ms.",
    source="kv_reuse_max_ttft_ms",
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    return missed(case, attempts, "kv_reuse_max_ttft_ms")
