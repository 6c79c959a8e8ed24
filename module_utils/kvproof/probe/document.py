# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documents that a probe ends in, before anything is known (docs/evidence.md)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .prompts import PromptPair, expected_hit

if TYPE_CHECKING:
    from .engine import EngineSettings
    from .options import Settings


def empty_probe(
    settings: Settings, holder: EngineSettings, receiver: EngineSettings, skipped: str | None = None
) -> dict[str, Any]:
    """PROBE before anything is known."""
    shown = {
        "trials": settings.trials,
        "extra_attempts": settings.extra_attempts,
        "chunks": settings.chunks or None,  # None: the usual number
        "wait_s": settings.wait_s,
        "deadline_s": settings.deadline_s,
        "max_tokens": settings.max_tokens,
        "flush_waited_s": None,
    }
    return {
        "schema": "kvproof.probe/1",
        "run_id": settings.run_id,
        "skipped": skipped,
        "withheld": None,
        "architecture": None,
        "disagg_spec": settings.disagg.spec,
        "started_at": round(time.time(), 6),
        "duration_s": 0.0,
        "settings": shown,
        "engines": {"holder": empty_engine(holder), "receiver": empty_engine(receiver)},
        "controller": None,
        "coordinator": None,
        "prompt": None,
        "warmup": [],
        "trials": [],
        "never_seen": None,
        "recompute": None,
        "reference": None,
        "flush": None,
        "window": None,
        "lengths": [],
        "router": None,
        "errors": [],
    }


def empty_engine(settings: EngineSettings) -> dict[str, Any]:
    """ENGINE before anything is known; ``reachable`` None: not tried."""
    return {
        "name": settings.name,
        "url": settings.url,
        "reachable": None,
        "error": None,
        "health": None,
        "models": [],
        "model": None,
        "model_root": None,
        "max_model_len": None,
        "version": None,
        "tokenize": False,
        "metrics": {"before": None, "after": None},
        "internal": None,
        "tunnel": None,
        "recognised": settings.recognised,
        "cache_server": None,
    }


def empty_request(role: str, engine: str, request_id: str) -> dict[str, Any]:
    """REQUEST before anything is known."""
    return {
        "role": role,
        "engine": engine,
        "request_id": request_id,
        "response_id": None,
        "sent_at": None,
        "ttft_s": None,
        "total_s": None,
        "itl_s": None,
        "tpot_s": None,
        "prompt_tokens": None,
        "cached_tokens": None,
        "completion_tokens": None,
        "finish_reason": None,
        "text": "",
        "logprobs": None,
        "kv_transfer": None,
        "error": None,
    }


def empty_trial(
    index: int, attempt: int, order: str, *, seed: dict[str, Any], pair: PromptPair, chunk_size: int
) -> dict[str, Any]:
    """TRIAL of which only the seed, a REQUEST, was sent."""
    return {
        "index": index,
        "attempt": attempt,
        "order": order,
        "prefix_tokens": pair.prefix_tokens,
        "expected_hit": expected_hit(pair.prefix_tokens, chunk_size),
        "expected_text": pair.expected_text,
        "seed": seed,
        "visible": not_waited(),
        "reuse": None,
        "knockout": None,
        "repeat": None,
        "knockout_how": "none",
        "window": None,
        "prompt_kv_tokens": seed["prompt_tokens"] or pair.tokens,
    }


def empty_router(url: str | None, withheld: str | None = None) -> dict[str, Any]:
    """ROUTER of which nothing was asked, and why not."""
    return {"url": url, "withheld": withheld, "engines": None, "requests": []}


def not_waited() -> dict[str, Any]:
    """VISIBLE of a seed that failed."""
    return {"how": None, "reached": False, "waited_s": 0.0, "limit_s": 0.0}


def skipped_length(tokens: int, why: str) -> dict[str, Any]:
    """LENGTH that was not measured, of the number of tokens that was asked for."""
    return {"asked": tokens, "tokens": None, "skipped": why, "trials": []}
