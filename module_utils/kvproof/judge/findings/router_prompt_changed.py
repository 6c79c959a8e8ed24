# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..routed import ENOUGH, Routed, told, where
from . import HINT, Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="router-prompt-changed",
    link=13,
    kind="cause",
    rank=4,
    title="The router changes prompts before the engines get them",
    meaning=(
        "The engines counted another number of tokens than the probe had sent, and all of them the same. What users "
        "send and what engines answer differ; common beginnings of prompts may be lost, too."
    ),
    evidence=(
        "The prompt tokens that the engines count around each fresh prompt through kv_reuse_router_url, in an idle "
        "window, against the token ids that were sent."
    ),
    remedy="See whether the router cuts prompts, adds to them or renders them, and whether that is meant.",
    source="kvproof",
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    known = [item for item in told(case) if item.shares and item.rendered]
    changed = [item for item in known if _changed(item)]
    if len(changed) >= ENOUGH and len(changed) == len(known):
        yield Sighting(
            where(case),
            f"{changed[0].rendered} prompt tokens",
            f"{changed[0].shares[0].prompt} on {', '.join(share.name for share in changed[0].shares)}",
            f"the engines got another prompt than was sent, {len(changed)} of {len(known)} times",
            strength=HINT,
        )


def _changed(item: Routed) -> bool:
    lengths = {share.prompt for share in item.shares}
    return len(lengths) == 1 and lengths != {item.rendered}
