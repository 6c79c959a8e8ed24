# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..routed import ENOUGH, told, where
from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="router-not-disaggregating",
    link=13,
    kind="failure",
    rank=1,
    title="The router lets one engine do all the work",
    meaning=(
        "The engines can hand KV over, and what users send does not make them: a prompt through the router is computed "
        "and answered by one engine, and the others see nothing of it."
    ),
    evidence=(
        "Fresh prompts through kv_reuse_router_url, answered with 200. Around each, in an idle window, one engine of "
        "the cluster counts the whole prompt as computed by itself, and all others count nothing."
    ),
    remedy=(
        "Look at the router's mode and at its list of prefill and decode engines. Where it is meant to keep short "
        "prompts on one engine, raise kv_reuse_chunks beyond its threshold."
    ),
    source="llm-d router, docs/disagg_prefill-decode: prompt length and cache hits decide between one node and two",
    architectures=("nixl_pd",),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    known = told(case)
    alone = [item for item in known if item.alone and item.alone.computed_all]
    if len(alone) >= ENOUGH and len(alone) == len(known):
        yield Sighting(
            where(case),
            "each prompt computed by a prefill engine and loaded by a decode engine",
            ", ".join(dict.fromkeys(map(str, alone))),
            f"{len(alone)} of {len(known)} fresh prompts were computed by the engine that answered, and by no other",
        )
