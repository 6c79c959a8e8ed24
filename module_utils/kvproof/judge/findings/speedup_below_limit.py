# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sightings
from ._limits import missed

FINDING = Finding(
    slug="speedup-below-limit",
    link=13,
    kind="failure",
    rank=10,
    title="Reuse works, but its speedup is below your limit",
    meaning=(
        "An operator's limit: the time to the first token of a recompute, divided by that of a reuse of the same "
        "prompt, has to reach kv_reuse_min_speedup. Looked for only where that is set."
    ),
    evidence=(
        "The ratio of each pair of reuse and recompute, its median and a bootstrap interval of the pairs, widened for "
        "few trials; missed only where the whole interval lies below the limit."
    ),
    remedy=(
        "Measure longer prompts (kv_reuse_lengths shows from which length on reuse pays), look at transport and load "
        "of both nodes, or lower kv_reuse_min_speedup."
    ),
    source="kv_reuse_min_speedup",
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    return missed(case, attempts, "kv_reuse_min_speedup")
