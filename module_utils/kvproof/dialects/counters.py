# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Witnesses that more than one architecture shares: the response itself, and counters of a proven idle window."""

from __future__ import annotations

PROMPTS = "vllm:prompt_tokens_total"


def response_hit(request: dict | None) -> int | None:
    """Cached tokens that a response tells; None where it failed or does not tell."""
    if not request or request.get("error"):
        return None
    return request.get("cached_tokens")


def idle_delta(trial: dict, role: str, request: dict, name: str) -> float | None:
    """Rise of a counter over one trial on one engine, only where nothing but this request ran there.

    ``trial["window"][role]`` holds the rises over the trial; the engine served this request alone when its
    prompt tokens rose by exactly this prompt's.  None: not measured, or not idle.
    """
    window = (trial.get("window") or {}).get(role) or {}
    if request.get("prompt_tokens") is None or window.get(PROMPTS) != request["prompt_tokens"]:
        return None
    return window.get(name, 0.0)
