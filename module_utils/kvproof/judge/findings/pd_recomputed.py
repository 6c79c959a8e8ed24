# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="pd-recomputed",
    link=11,
    kind="failure",
    rank=90,
    title="The decode engine computed the prompt again",
    meaning=(
        "The prefill engine kept the KV, the decode engine was told where it is and answered 200, and computed the "
        "whole prompt all the same. Nobody notices but by the time that it takes."
    ),
    evidence=(
        "The decode engine's own counters around the request that it served alone: prompt_tokens_by_source has the "
        "prompt as local_compute."
    ),
    remedy=(
        "Read the decode engine's log around the request for `NIXL transfer failure`, and whether the engines fit: "
        "same model, dtype, block size and vLLM."
    ),
    source="vLLM 0.32 v1/metrics/stats.py:432, nixl/base_worker.py:2915",
    architectures=("nixl_pd",),
    covers=("reuse-absent",),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    missed = [a for a in attempts if a.outcome == "missed" and a.expected]
    if len(missed) >= 2 and len(missed) == len(attempts):
        yield Sighting(
            case.receiver.name,
            f"{missed[0].expected} tokens read from {case.holder}",
            f"{missed[0].loaded} tokens",
            f"{len(missed)} of {len(attempts)} fresh prompts were computed again",
        )
