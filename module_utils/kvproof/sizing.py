# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a probe's prompts have to be, and whether they fit; what does not fit is refused before it is sent."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from .prompts import SLACK_TOKENS, PromptPair

DEFAULT_CHUNK_SIZE = 256  # LMCache's own
DTYPE_BYTES = {
    "float32": 4,
    "float": 4,
    "bfloat16": 2,
    "float16": 2,
    "half": 2,
    "int8": 1,
    "uint8": 1,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
}


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
    max_probe_bytes: float | None = None
    prompts: int = 1  # that will be stored on one engine

    def prefix_tokens(self) -> int:
        """Common prefix to build: the chunks wanted, more where min_retrieve_tokens asks for more, and slack."""
        least = self.min_retrieve_tokens // self.chunk_size + 1
        return max(self.chunks, least) * self.chunk_size + SLACK_TOKENS


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
    one = pair.most_tokens * bounds.kv_bytes_per_token
    if bounds.pool_bytes is not None and 2 * one > bounds.pool_bytes:
        return {
            "slug": "probe-exceeds-pool",
            "text": f"one probe prompt needs {_mb(one)} MB of KV, more than half of a node's pool of "
            f"{_mb(bounds.pool_bytes)} MB; lower kv_reuse_chunks or raise max_local_cpu_size",
        }
    if bounds.max_probe_bytes is not None and one * bounds.prompts > bounds.max_probe_bytes:
        return {
            "slug": "probe-too-big",
            "text": f"{bounds.prompts} probe prompts need {_mb(one * bounds.prompts)} MB of KV on an engine, more "
            f"than kv_reuse_max_probe_mb {_mb(bounds.max_probe_bytes)}; lower kv_reuse_trials or "
            "kv_reuse_chunks, or raise the bound",
        }
    return None


def kv_bytes_per_token(meta: Any) -> float | None:
    """KV bytes of one token on one engine from the internal API's /meta (kv_shape: layers, k/v, chunk, heads, size)."""
    if not isinstance(meta, dict):
        return None
    shape = meta.get("kv_shape")
    shape = [int(one) for one in re.findall(r"\d+", shape if isinstance(shape, str) else str(shape or ""))]
    size = DTYPE_BYTES.get(str(meta.get("kv_dtype")).rpartition(".")[2])
    world = meta.get("world_size")
    if len(shape) != 5 or not shape[2] or size is None:
        return None
    return math.prod(shape) / shape[2] * size * (world if isinstance(world, int) and world > 0 else 1)


def _mb(size: float) -> int:
    return math.ceil(size / 2**20)
