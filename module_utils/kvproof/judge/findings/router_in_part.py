# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..routed import ENOUGH, seen, told, where
from . import HINT, Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="router-in-part",
    link=13,
    kind="cause",
    rank=4,
    title="The router disaggregates some prompts and not others",
    meaning=(
        "Of prompts of one length on an idle cluster, some were handed over and others computed by the engine that "
        "answered. Routers fall back to one engine where a prefill engine does not answer, and some choose by load; "
        "a list of engines that is half wrong looks the same."
    ),
    evidence="The engines' own counters around each fresh prompt through kv_reuse_router_url, in idle windows.",
    remedy="Look at the router's log for prefill engines that it leaves out, and at its list of engines.",
    source="kvproof",
    architectures=("nixl_pd",),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    known = told(case)
    whole = [item for item in known if item.shares and all(share.computed_all for share in item.shares)]
    if len(known) >= ENOUGH and whole and any(item.handed_over for item in known):
        yield Sighting(
            where(case),
            "each prompt computed by a prefill engine and loaded by a decode engine",
            "; ".join(seen(case)),
            f"{len(whole)} of {len(known)} fresh prompts were not handed over",
            strength=HINT,
        )
