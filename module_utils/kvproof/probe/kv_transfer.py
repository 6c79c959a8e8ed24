# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be kept of an answer's ``kv_transfer_params``: the evidence KV_TRANSFER.

The object itself goes on into the next request and nowhere else: it may hold thousands of block ids, and what a later
version puts into it is not known to be harmless.
"""

from __future__ import annotations

from typing import Any

from ..stack.numbers import whole

#: As vLLM 0.32 (nixl/pull_scheduler.py) and LMCache 0.5.6 (vllm_v1_adapter.py) name them.
FLAGS = ("do_remote_prefill", "do_remote_decode")
TEXTS = ("remote_engine_id", "remote_request_id", "remote_host", "transfer_mode")
NUMBERS = (
    "remote_port",
    "remote_num_tokens",
    "remote_prefill_cached_tokens",
    "tp_size",
    "dcp_size",
    "pp_size",
    "first_tok",
)
STATS = "cached_token_stats"
IN_STATS = ("num_vllm_cached_tokens", "num_lmcache_cached_tokens", "num_lmcache_extra_cached_tokens")
BLOCKS = "remote_block_ids"  # a list of ids for each group of layers; older versions have one list
LONGEST_TEXT = 200


def kept(params: Any) -> dict[str, Any] | None:
    """KV_TRANSFER of a ``kv_transfer_params`` object; None where there is none."""
    if not isinstance(params, dict):
        return None
    texts = {name: params.get(name) for name in TEXTS}
    stats = params.get(STATS)
    return {
        **{name: params.get(name) if isinstance(params.get(name), bool) else None for name in FLAGS},
        **{name: value[:LONGEST_TEXT] if isinstance(value, str) else None for name, value in texts.items()},
        **{name: whole(params.get(name)) for name in NUMBERS},
        "remote_blocks": _count(params.get(BLOCKS)),
        **{name: whole(stats.get(name)) if isinstance(stats, dict) else None for name in IN_STATS},
    }


def _count(blocks: Any) -> int | None:
    if not isinstance(blocks, list):
        return None
    return sum(len(group) if isinstance(group, list) else 1 for group in blocks)
