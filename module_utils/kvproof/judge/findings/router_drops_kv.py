# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..routed import ENOUGH, told, where
from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="router-drops-kv",
    link=13,
    kind="failure",
    rank=2,
    title="The router makes two engines compute the same prompt",
    meaning=(
        "The router asks a prefill engine and then a decode engine, and does not hand on where the KV is. Asked by the "
        "probe, the same engines hand it over. Every answer is 200, and every prompt is computed twice."
    ),
    evidence=(
        "Fresh prompts through kv_reuse_router_url: around each, in an idle window, two engines count the whole prompt "
        "as computed by themselves, while the pair's own requests were proven to be reused."
    ),
    remedy="See that the router passes the prefill answer's kv_transfer_params on, unchanged, with the decode request.",
    source="vLLM 0.32 nixl/pull_scheduler.py, get_num_new_matched_tokens",
    architectures=("nixl_pd",),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    known = told(case)
    twice = [item for item in known if len(item.shares) > 1 and all(share.computed_all for share in item.shares)]
    proven = any(attempt.outcome == "proven" for attempt in attempts)
    if proven and len(twice) >= ENOUGH and len(twice) == len(known):
        yield Sighting(
            where(case),
            "each prompt computed once, by a prefill engine",
            ", ".join(dict.fromkeys(map(str, twice))),
            f"{len(twice)} of {len(known)} fresh prompts were computed by both engines",
        )
