# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..output import case_output
from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="output-differs",
    link=12,
    kind="failure",
    rank=10,
    title="The reused output is wrong",
    meaning=(
        "The same prompt gives other log-probabilities with reused KV than when recomputed: the "
        "KV that arrived is not the KV of this prompt and model."
    ),
    evidence=(
        "Log-probabilities of the reuse against the knocked-out recompute, in at least two "
        "trials, beyond noise and tolerance."
    ),
    remedy=(
        "Stop reuse on this pair. Compare weights, dtype and versions of the nodes; see "
        "LMCache#5151, #4463, #3388 for known causes."
    ),
    source="kvproof",
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    verdict = case_output(case, attempts)
    if verdict.state == "differs":
        yield Sighting(
            case.receiver.name,
            f"log-probabilities within {verdict.limit} of a recompute's",
            f"apart by {verdict.difference} in {verdict.trials} trials",
            "the KV that was loaded is damaged or belongs to other weights",
        )
