# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..output import as_recomputed, case_output
from ..routed import ENOUGH, told, where
from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="router-output-differs",
    link=13,
    kind="failure",
    rank=5,
    title="Answers that come through the router are not those of the prompt",
    meaning=(
        "A decode engine answers another way when the same prompt comes through the router than when it is asked "
        "itself, while what the probe has it load gives the right answers. It loads KV of another prompt, or is sent "
        "another."
    ),
    evidence=(
        "Log-probabilities of each fresh prompt through kv_reuse_router_url against a recompute of the same tokens, "
        "beyond noise and tolerance; both engines counted as many tokens as were sent."
    ),
    remedy=(
        "See that the router sends both engines the same prompt, and hands each answer's kv_transfer_params on with "
        "its own request, once and at once."
    ),
    source="vLLM 0.32 nixl/pull_scheduler.py: a decode engine does not see whose blocks it reads",
    architectures=("nixl_pd",),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    if case_output(case, attempts).state != "equal":
        return
    whole = [item for item in told(case) if item.handed_over and {s.prompt for s in item.shares} == {item.rendered}]
    compared = [as_recomputed(case, item.request, item.recompute) for item in whole]
    apart = [verdict for verdict in compared if verdict.state == "differs"]
    if len(apart) >= ENOUGH:
        yield Sighting(
            where(case),
            f"log-probabilities within {apart[0].limit} of a recompute's",
            f"apart by up to {max(verdict.difference or 0.0 for verdict in apart)}",
            f"{len(apart)} of {len(compared)} prompts were answered another way than by the engine itself",
        )
