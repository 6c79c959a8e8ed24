# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a probe's prompts have to be, and whether they fit; what does not fit is refused before it is sent."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..stack.numbers import is_plausible
from ..stack.settings import DEFAULTS, kv_bytes_per_token
from .engine import Engine
from .options import Settings
from .prompts import SLACK_TOKENS, PromptPair

ENDING_TOKENS = 40  # about what a prompt has behind the common prefix
USUAL_CHUNKS = 4  # where the operator names no number; fewer where fewer fit
MOST_PROMPT_TOKENS = 2**20  # no model takes more, so no prompt is built that has


@dataclass(frozen=True)
class Bounds:
    """What the nodes and the operator allow; None: not known."""

    chunk_size: int
    chunks: int
    max_tokens: int
    min_retrieve_tokens: int = 0
    max_model_len: int | None = None
    kv_bytes_per_token: float | None = None
    pool_bytes: float | None = None
    max_probe_bytes: float | None = None  # this pair's share
    prompts: int = 1  # that will be stored on one engine
    shares: int = 1  # pairs of the run that share the bound on one engine
    pool_option: str = "max_local_cpu_size"  # what sizes the pool
    usual_chunks: int | None = None  # the operator named no number: this is the usual one, and `chunks` may be fewer

    def prefix_tokens(self) -> int:
        """Common prefix to build: whole chunks and slack."""
        return self.fitting_chunks() * self.chunk_size + SLACK_TOKENS

    def least_chunks(self) -> int:
        return self.min_retrieve_tokens // self.chunk_size + 1

    def fitting_chunks(self) -> int:
        """The chunks wanted, fewer where the share of probe KV is small, but more than min_retrieve_tokens."""
        least = self.least_chunks()
        if self.kv_bytes_per_token is None or self.max_probe_bytes is None:
            return max(self.chunks, least)
        room = self.max_probe_bytes / self.prompts / self.kv_bytes_per_token - SLACK_TOKENS - ENDING_TOKENS
        return max(min(self.chunks, int(room) // self.chunk_size), least)


def bounds(settings: Settings, engines: Iterable[Engine], max_tokens: int) -> tuple[Bounds, str]:
    """What both engines and the operator allow, and where the chunk size is from: PROMPT.chunk_size_source."""
    metas = [(e.document["internal"] or {}).get("meta") for e in engines]
    seen = {
        "chunk_size": [e.conf("chunk_size") for e in engines],
        "max_model_len": [e.document["max_model_len"] for e in engines],
        "min_retrieve": [e.conf("min_retrieve_tokens") for e in engines],
        "pool": [e.conf("max_local_cpu_size") for e in engines],
        "kv": [kv_bytes_per_token(meta) for meta in metas],
    }
    least = {"pool": 2**-30}  # GB; everything else is counted
    known: dict[str, list] = {
        name: [value for value in values if is_plausible(value) and value >= least.get(name, 1)]
        for name, values in seen.items()
    }
    if known["chunk_size"]:  # the larger, so that the prompt is long enough on either
        source, chunk = "internal_api", int(max(known["chunk_size"]))
    else:
        source, chunk = "variable" if settings.chunk_size else "default", settings.chunk_size or DEFAULTS["chunk_size"]
    most = settings.max_probe_mb
    limits = Bounds(
        chunk_size=chunk,
        chunks=settings.chunks or USUAL_CHUNKS,
        usual_chunks=None if settings.chunks else USUAL_CHUNKS,
        max_tokens=max_tokens,
        min_retrieve_tokens=int(max(known["min_retrieve"], default=0)),
        max_model_len=min(known["max_model_len"], default=None),
        kv_bytes_per_token=max(known["kv"], default=None),
        pool_bytes=min(known["pool"]) * 2**30 if known["pool"] else None,
        max_probe_bytes=most * 2**20 / settings.shares if most is not None else None,
        prompts=settings.trials + 2 + settings.routed,
        shares=settings.shares,
    )
    return limits, source


def beyond_any_model(bounds: Bounds) -> dict[str, str] | None:
    """PROMPT.refused of a prompt so long that it must not even be built, or None."""
    need, chunk, window = bounds.prefix_tokens(), bounds.chunk_size, bounds.max_model_len
    if need <= MOST_PROMPT_TOKENS:
        return None
    if chunk > min(window or MOST_PROMPT_TOKENS, MOST_PROMPT_TOKENS):
        longest = f"max_model_len {window}" if window else f"the {MOST_PROMPT_TOKENS} tokens that any model takes"
        text = (
            f"one chunk of {chunk} tokens is more than {longest}: LMCache can store nothing; use a smaller chunk_size"
        )
        return {"slug": "prompt-shorter-than-chunk", "text": text}
    why = f"{bounds.chunks} chunks of {chunk} tokens"
    if bounds.least_chunks() > bounds.chunks:
        why = f"min_retrieve_tokens {bounds.min_retrieve_tokens}"
    text = f"{why} need a prompt of {need} tokens, more than the {MOST_PROMPT_TOKENS} that any model takes"
    return {"slug": "prompt-too-long", "text": f"{text}; lower kv_reuse_chunks or min_retrieve_tokens"}


def with_fewer_chunks(bounds: Bounds, pair: PromptPair) -> Bounds | None:
    """Bounds of a chunk less, where the pair exceeds max_model_len and the operator named no number; else None."""
    need = pair.most_tokens + bounds.max_tokens
    fits = bounds.max_model_len is None or need <= bounds.max_model_len
    fewer = bounds.fitting_chunks() - 1
    if fits or bounds.usual_chunks is None or fewer < max(1, bounds.least_chunks()):
        return None
    return replace(bounds, chunks=fewer)


def refusal(bounds: Bounds, pair: PromptPair) -> dict[str, str] | None:
    """PROMPT.refused: why this pair must not be sent, or None."""
    chunk, need = bounds.chunk_size, pair.most_tokens + bounds.max_tokens
    if bounds.max_model_len is not None and need > bounds.max_model_len:
        overhead = need - bounds.prefix_tokens()
        fits = max(0, (bounds.max_model_len - overhead - SLACK_TOKENS) // chunk)
        if fits == 0:
            return {
                "slug": "prompt-shorter-than-chunk",
                "text": f"the longest prompt that fits max_model_len {bounds.max_model_len} is shorter than one "
                f"chunk of {chunk} tokens: LMCache can store nothing; use a smaller chunk_size",
            }
        return {
            "slug": "prompt-too-long",
            "text": f"{pair.most_tokens} prompt tokens and {bounds.max_tokens} new ones exceed max_model_len "
            f"{bounds.max_model_len}; set kv_reuse_chunks to {fits} or less, or a smaller MAX_TOKENS",
        }
    if pair.prefix_tokens < chunk:
        return {
            "slug": "prompt-shorter-than-chunk",
            "text": f"the common prefix of {pair.prefix_tokens} tokens is shorter than one chunk of {chunk}; "
            "raise kv_reuse_chunks",
        }
    if bounds.kv_bytes_per_token is None:
        return None
    prompt_bytes = pair.most_tokens * bounds.kv_bytes_per_token
    if bounds.pool_bytes is not None and 2 * prompt_bytes > bounds.pool_bytes:
        return {
            "slug": "probe-exceeds-pool",
            "text": f"one probe prompt needs {_mb(prompt_bytes)} MB of KV, more than half of a node's pool of "
            f"{_mb(bounds.pool_bytes)} MB; lower kv_reuse_chunks or raise {bounds.pool_option}",
        }
    if bounds.max_probe_bytes is not None and prompt_bytes * bounds.prompts > bounds.max_probe_bytes:
        return {
            "slug": "probe-too-big",
            "text": f"{bounds.prompts} probe prompts need {_mb(prompt_bytes * bounds.prompts)} MB of KV on an engine, "
            f"more than {_share(bounds)}; lower kv_reuse_trials or kv_reuse_chunks, or raise the bound",
        }
    return None


def longer_than_any(bounds: Bounds, prefix_tokens: int) -> str | None:
    """Why a prompt of another length must not even be built, or None."""
    most = min(bounds.max_model_len or MOST_PROMPT_TOKENS, MOST_PROMPT_TOKENS)
    if prefix_tokens <= most:
        return None
    limit = f"max_model_len {most}" if most == bounds.max_model_len else f"the {most} that any model takes"
    return f"{prefix_tokens} tokens exceed {limit}"


def length_refusal(bounds: Bounds, pair: PromptPair, new_tokens: int, left_bytes: float | None) -> str | None:
    """Why a prompt of another length must not be sent, or None.  left_bytes: what the probe may still store."""
    need = pair.most_tokens + new_tokens
    if bounds.max_model_len is not None and need > bounds.max_model_len:
        return f"{need} tokens exceed max_model_len {bounds.max_model_len}"
    if pair.prefix_tokens // bounds.chunk_size * bounds.chunk_size <= bounds.min_retrieve_tokens:
        return f"not more than min_retrieve_tokens {bounds.min_retrieve_tokens}"
    prompt_bytes = pair.most_tokens * (bounds.kv_bytes_per_token or 0)
    if bounds.pool_bytes is not None and 2 * prompt_bytes > bounds.pool_bytes:
        return f"{_mb(prompt_bytes)} MB of KV are more than half of a node's pool of {_mb(bounds.pool_bytes)} MB"
    if left_bytes is not None and prompt_bytes > left_bytes:
        return f"{_mb(prompt_bytes)} MB of KV, and {_mb(max(left_bytes, 0))} MB are left of {_share(bounds)}"
    return None


def shortened(bounds: Bounds) -> str | None:
    """PROMPT.shortened: why the prompts are shorter than usual, or than kv_reuse_chunks asks for; or None."""
    fits, usual = bounds.fitting_chunks(), bounds.usual_chunks or bounds.chunks
    if fits >= usual:
        return None
    if fits == bounds.chunks:
        return f"{fits} of {usual} chunks, so that a prompt fits max_model_len {bounds.max_model_len}"
    return f"{fits} of {usual} chunks, so that {bounds.prompts} prompts stay within {_share(bounds)}"


def _share(bounds: Bounds) -> str:
    share = f"{_mb(bounds.max_probe_bytes or 0)} MB"
    if bounds.shares == 1:
        return f"kv_reuse_max_probe_mb {share}"
    return f"{share}, this pair's share of kv_reuse_max_probe_mb: {bounds.shares} pairs of this run use one engine"


def _mb(size: float) -> int:
    return math.ceil(size / 2**20)
