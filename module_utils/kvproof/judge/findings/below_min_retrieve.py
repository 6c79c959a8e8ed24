# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="below-min-retrieve",
    link=6,
    kind="validity",
    rank=15,
    title="The prefix is below min_retrieve_tokens",
    meaning="LMCache found the chunks but does not load fewer than min_retrieve_tokens: this prompt proves nothing.",
    evidence="min_retrieve_tokens in the effective configuration, or the lookup line `but need to load`.",
    remedy="Raise kv_reuse_chunks so that the prefix exceeds min_retrieve_tokens.",
    source="LMCache 0.5.6 vllm_v1_adapter.py:1465",
    voids=True,
    covers=("reuse-absent", "experiment-incomplete"),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    refused, host = case.prompt.get("refused") or {}, case.receiver.name
    expected, least = "a prefix above min_retrieve_tokens", case.receiver.count("min_retrieve_tokens")
    short = [a for a in attempts if a.outcome == "below-min"]
    missed = [a for a in attempts if a.outcome == "missed" and a.expected and a.expected < (least or 0)]
    if refused.get("slug") == "below-min-retrieve":
        yield Sighting(host, expected, str(refused.get("text")), "nothing was sent")
    elif short:
        shown = f" (min_retrieve_tokens: {case.receiver.setting('min_retrieve_tokens')})" if least else ""
        yield Sighting(
            host, expected, f"{short[0].hit} tokens found, not loaded{shown}", "LMCache does not load so few"
        )
    elif missed and len(missed) == len(attempts):
        yield Sighting(
            host,
            f"{expected}: {case.receiver.setting('min_retrieve_tokens')}",
            f"{missed[0].expected} tokens",
            "LMCache does not load so few",
        )
