# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ...stack.architectures import NIXL_PD
from ..routed import ENOUGH, closed, routed, seen, told, where
from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="router-unproven",
    link=13,
    kind="note",
    rank=50,
    title="What the router does with prompts was not seen",
    meaning=(
        "The verdict is about the engines, which were asked themselves. Whether the way through the router makes them "
        "share KV is left open."
    ),
    evidence="Why nothing was sent through kv_reuse_router_url, or what the engines' counters left open.",
    remedy=(
        "Probe in a quiet hour, with the metrics of every engine readable, and with kv_reuse_pairs: cover or full, so "
        "that every engine of the cluster takes part."
    ),
    source="kvproof",
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    router = case.probe.get("router") or {}
    known = [item for item in told(case) if case.architecture != NIXL_PD or _sources(item.shares)]
    if router.get("withheld"):
        yield Sighting(where(case), "prompts through the router", "none were sent", router["withheld"])
    elif router and not closed(case) and len(known) < ENOUGH:
        what = f"known of {len(known)} of {len(routed(case))}"
        yield Sighting(where(case), "who served each prompt", what, "; ".join(seen(case)) or "nothing was sent")


def _sources(shares: tuple) -> bool:
    return all(share.computed is not None for share in shares)
