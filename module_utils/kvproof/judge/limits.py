# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of performance that an operator sets, against the intervals of what was measured.

A limit is met or missed where the whole interval lies on one side of it; else more trials are needed.  Only prompts
proven to be reused count.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from .attempt import Attempt
from .case import Case
from .interval import interval, interval_text, is_time
from .timing import timing_pairs

MET, MISSED, UNDECIDED = "met", "missed", "undecided"
PROVEN = frozenset({"proven"})


@dataclass(frozen=True)
class Checked:
    """One limit: ``name`` of the variable, ``expected`` and ``observed`` in words."""

    name: str
    state: str
    expected: str
    observed: str


def checked(case: Case, attempts: list[Attempt]) -> list[Checked]:
    """Every limit that is set."""
    speedup, ttft_ms = case.limit("min_speedup"), case.limit("max_ttft_ms")
    results = []
    if speedup:
        ratios = [cold / warm for warm, cold in timing_pairs(case, attempts, PROVEN)]
        results.append(_checked("kv_reuse_min_speedup", ratios, speedup, "x", at_least=True))
    if ttft_ms:
        reused = [trial.get("reuse") or {} for trial, a in zip(case.trials, attempts) if a.outcome == "proven"]
        times = [request["ttft_s"] * 1000 for request in reused if is_time(request.get("ttft_s"))]
        results.append(_checked("kv_reuse_max_ttft_ms", times, ttft_ms, " ms", at_least=False))
    return results


def _checked(name: str, values: list[float], limit: float, unit: str, at_least: bool) -> Checked:
    expected = f"at least {limit:g}{unit}" if at_least else f"at most {limit:g}{unit}"
    ends = interval(values)
    if ends is None:
        observed = f"{values[0]:.3g}{unit} in one trial, which has no interval" if values else "not measured"
        return Checked(name, UNDECIDED, expected, observed)
    good = ends["low"] >= limit if at_least else ends["high"] <= limit
    bad = ends["high"] < limit if at_least else ends["low"] > limit
    state = MET if good else MISSED if bad else UNDECIDED
    observed = f"{median(values):.3g}{unit} (95 % interval {interval_text(ends)}{unit}, {len(values)} trials)"
    return Checked(name, state, expected, observed)
