# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..link import tokens
from ..routed import ENOUGH, Routed, told, where
from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="router-prompt-differs",
    link=13,
    kind="failure",
    rank=3,
    title="The router sends the two engines different prompts",
    meaning=(
        "KV is another prompt's unless both engines get the same tokens. A router that renders, cuts or completes the "
        "prompt for one of them makes the other compute again, or answer from KV that is not this prompt's."
    ),
    evidence=(
        "The prompt tokens that the engines count around each fresh prompt through kv_reuse_router_url, in an idle "
        "window. One more on the decode engine is no difference: some proxies put the first new token there."
    ),
    remedy="See that the router passes prompts on as they came, as text or token ids, to both engines alike.",
    source="kvproof",
    architectures=("nixl_pd",),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    known = [item for item in told(case) if len(item.shares) > 1]
    apart = [item for item in known if _differ(item)]
    if len(apart) >= ENOUGH and len(apart) == len(known):
        yield Sighting(
            where(case),
            f"{tokens(apart[0].rendered)} on both" if apart[0].rendered else "as many tokens on both",
            ", ".join(f"{share.name} {share.prompt}" for share in apart[0].shares),
            f"the engines counted different lengths of {len(apart)} of {len(known)} fresh prompts",
        )


def _differ(item: Routed) -> bool:
    lengths = [share.prompt for share in item.shares]
    return max(lengths) - min(lengths) > 1
