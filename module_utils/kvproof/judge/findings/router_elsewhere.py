# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..routed import ENOUGH, told, where
from . import HINT, Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="router-elsewhere",
    link=13,
    kind="cause",
    rank=5,
    title="The router answers from engines that are not in the inventory",
    meaning=(
        "Prompts through the router were answered, and no engine of this cluster had a part in it. What was proven of "
        "these engines says nothing about those that serve the router's users."
    ),
    evidence="The counters of every engine of the cluster, which stood still around each answered prompt.",
    remedy=(
        "See that kv_reuse_router_url is this cluster's, that its engines are all in kv_prefill and kv_decode, and "
        "that kv_reuse_metrics_url is theirs."
    ),
    source="kvproof",
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    known = told(case)
    if len(known) >= ENOUGH and not any(item.shares for item in known):
        yield Sighting(
            where(case),
            "an engine of this cluster that counts the prompt",
            "none",
            f"{len(known)} of {len(known)} prompts were answered, and all engines' counters stood still",
            strength=HINT,
        )
