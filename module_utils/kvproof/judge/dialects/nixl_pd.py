# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""vLLM's NixlConnector: the decode engine pulls a prompt's KV from the prefill engine.

Nothing in logs or responses names a request (usage.cached_tokens is 0 although everything came over), so the
witness is a counter of a window in which the engine served this request alone.  Judged from recordings of vLLM
0.32; nothing gathers this evidence from a live cluster yet.
"""

from __future__ import annotations

from dataclasses import replace

from .. import counters
from ..attempt import Attempt
from ..case import Case
from . import inprocess_p2p

FROM_PEER = "vllm:prompt_tokens_cached_by_source_total{source=p2p}"


def observe(case: Case) -> list[Attempt]:
    """One Attempt per fresh prompt, expected: all of the prompt."""
    attempts = []
    for trial in case.trials:
        reuse = trial.get("reuse") or {}
        attempt = Attempt(
            index=trial.get("index", 0),
            expected=trial.get("prefix_tokens"),
            seed_error=(trial.get("seed") or {}).get("error"),
            reuse_error=reuse.get("error"),
        )
        pulled = counters.idle_delta(trial, "receiver", reuse, FROM_PEER)
        if pulled is not None:
            attempt.cached, attempt.asked = int(pulled), pulled > 0
            attempt.transfer_witness = f"{int(pulled)} tokens by source=p2p while the engine served this request alone"
        attempts.append(attempt)
    return attempts


def never_seen_hit(case: Case) -> int | None:
    """Tokens pulled in the whole run beyond those of the reuse requests; cached_tokens is always 0 here."""
    total = counters.counter_delta(case.receiver, FROM_PEER)
    if total is None or not case.probe.get("never_seen"):
        return None
    return max(0, int(total) - sum(attempt.cached or 0 for attempt in observe(case)))


DIALECT = replace(
    inprocess_p2p.DIALECT,
    observe=observe,
    never_seen_hit=never_seen_hit,
    transfers=lambda case, attempts: None,
)
