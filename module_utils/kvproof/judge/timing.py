# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a pair's measurements come to: the "timing" part of its verdict.  Measures, decides nothing."""

from __future__ import annotations

from statistics import median

from .attempt import REUSED, Attempt
from .case import Case
from .dialects import dialect_of
from .interval import interval, is_time, spread
from .lengths import break_even, summaries


def timing(case: Case, attempts: list[Attempt]) -> dict:
    """Spreads (interval.spread) of what was measured; None for what was not."""
    second = [trial.get("reuse") or {} for trial in case.trials]
    pairs = timing_pairs(case, attempts)
    visible = [trial.get("visible") or {} for trial in case.trials]
    gaps = [gap for request in second for gap in (request.get("itl_s") or {}).get("gaps") or []]
    lengths = summaries(case)
    return {
        "reused_ttft_s": spread([warm for warm, _cold in pairs]),
        "recomputed_ttft_s": spread([cold for _warm, cold in pairs]),
        "itl_s": spread(gaps),
        "tpot_s": spread(request.get("tpot_s") for request in second),
        "visible_s": spread(wait.get("waited_s") for wait in visible if wait.get("reached")),
        "visible_how": next((wait.get("how") for wait in visible if wait.get("reached")), None),
        "moved": dialect_of(case).transfers(case, attempts),
        "lengths": lengths,
        "break_even": break_even(lengths),
    }


def timing_pairs(case: Case, attempts: list[Attempt], outcomes: frozenset[str] = REUSED) -> list[tuple[float, float]]:
    """TTFT in seconds of (reuse, recompute) of one prompt, for trials that have both.

    A recompute that ran into the lookup time-out is no measure of prefill, so its trial is left out.
    """
    slow = case.lookup_timeout_s
    pairs = []
    for trial, attempt in zip(case.trials, attempts):
        reuse, cold = trial.get("reuse") or {}, trial.get("knockout") or {}
        warm_s, cold_s = reuse.get("ttft_s"), cold.get("ttft_s")
        if attempt.outcome in outcomes and is_time(warm_s) and is_time(cold_s) and cold_s < slow:
            pairs.append((warm_s, cold_s))
    return pairs


def case_speed(case: Case, attempts: list[Attempt], outcomes: frozenset[str] = REUSED) -> dict | None:
    """Median TTFT of reused and of recomputed requests, in seconds, and the median of the pairs' ratios with the
    interval that its truth lies in."""
    pairs = timing_pairs(case, attempts, outcomes)
    if not pairs:
        return None
    reused, recomputed = (median(column) for column in zip(*pairs))
    ratios = [cold / warm for warm, cold in pairs]
    return {
        "reused_s": reused,
        "recomputed_s": recomputed,
        "speedup": round(median(ratios), 3),
        "interval": interval(ratios),
        "trials": len(pairs),
        "tokens": case.prompt.get("tokens"),
    }
