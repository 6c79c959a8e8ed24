# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..routed import told, where
from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="router-one-engine",
    link=13,
    kind="note",
    rank=40,
    title="The router chose the same engine each time",
    meaning=(
        "Prompts that have nothing in common all went to one engine of several. With few prompts on an idle cluster "
        "that may be chance, or a router that takes the least busy engine; a router that always does so leaves the "
        "others without work, and nothing to share."
    ),
    evidence="The engines' own counters around each fresh prompt through kv_reuse_router_url, in idle windows.",
    remedy="None where the router goes by load. Otherwise look at its list of engines, and at its health checks.",
    source="kvproof",
    architectures=("inprocess_p2p", "mp"),
)

ENOUGH = 3


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    known = told(case)
    chosen = [item.alone.name for item in known if item.alone]
    if len(chosen) >= ENOUGH and len(chosen) == len(known) and len(set(chosen)) == 1:
        yield Sighting(
            where(case),
            "prompts without a common beginning on several engines",
            f"{len(chosen)} of {len(known)} on {chosen[0]}",
            "the cluster's other engines counted nothing",
        )
