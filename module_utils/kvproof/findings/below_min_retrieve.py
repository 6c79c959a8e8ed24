# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Finding, Sighting


def look(case, attempts):
    refused = case.prompt.get("refused") or {}
    minimum = case.receiver.setting("min_retrieve_tokens")
    if refused.get("slug") == "below-min-retrieve":
        yield Sighting(
            case.receiver.name, "a prefix above min_retrieve_tokens", str(refused.get("text")), "nothing was sent"
        )
    elif attempts and all(a.outcome == "below-min" for a in attempts):
        yield Sighting(
            case.receiver.name,
            "a prefix above min_retrieve_tokens",
            f"{attempts[0].hit} tokens found, not loaded (min_retrieve_tokens: {minimum})",
            "LMCache does not load so few",
        )
    elif (
        attempts
        and minimum
        and any(a.expected and a.expected < int(minimum.value or 0) for a in attempts)
        and all(a.outcome in ("missed", "unknown") for a in attempts)
    ):
        yield Sighting(
            case.receiver.name,
            f"a prefix above min_retrieve_tokens: {minimum}",
            f"{attempts[0].expected} tokens",
            "LMCache does not load so few",
        )


FINDING = Finding(
    slug="below-min-retrieve",
    link=6,
    kind="validity",
    rank=15,
    title="The prefix is below min_retrieve_tokens",
    meaning=("LMCache found the chunks but does not load fewer than min_retrieve_tokens: this prompt proves nothing."),
    evidence=("min_retrieve_tokens in the effective configuration, or the lookup line `but need to load`."),
    remedy="Raise kv_reuse_chunks so that the prefix exceeds min_retrieve_tokens.",
    source="LMCache 0.5.6 vllm_v1_adapter.py:1465",
    look=look,
    covers=("reuse-absent", "experiment-incomplete"),
)
