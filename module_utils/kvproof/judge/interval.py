# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What few measurements tell: a spread, and how far their median can be trusted.

The interval is a bootstrap's (resampled with replacement, on a logarithmic scale, since times and ratios are
positive), widened by Student's factor for small samples.  Without that a nominal 95 % interval of three values holds
the truth in 75 % of all cases, as it cannot leave their range; with it in 92 %, of two in 94 %, of five and more in
95 to 97 % (simulated with normal and with heavy-tailed logarithms).  So it is honestly wide for three trials.  The
seed is fixed: the same measurements always give the same interval.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping
from functools import lru_cache
from statistics import median
from typing import Any, TypeGuard

CONFIDENCE = 0.95
RESAMPLES = 1000
NORMAL = 1.96  # quantile of the normal distribution for CONFIDENCE
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)  # of Student's, by degree of freedom
LARGEST = 30.0  # of a logarithm: what lies above says "no idea" and must stay a number
LONGEST_S = 86_400.0  # a request that took longer was none
TAIL_NEEDS = 20  # fewer values have no 95th percentile of their own


def interval(values: list[float]) -> dict | None:
    """{low, high} that holds the median of what the values are a sample of, at CONFIDENCE; None for less than two.

    For paired measurements the values are the pairs' ratios: resampling them is resampling the pairs.
    """
    return None if len(values) < 2 or min(values) <= 0 else dict(_interval(tuple(values)))


@lru_cache(maxsize=64)  # chain, limits and timing ask for the same values
def _interval(values: tuple[float, ...]) -> dict:
    logs, chance = [math.log(value) for value in values], random.Random(len(values))
    medians = sorted(median(chance.choices(logs, k=len(logs))) for _again in range(RESAMPLES))
    tail = int(RESAMPLES * (1 - CONFIDENCE) / 2)
    middle, widen = median(logs), _widening(len(logs))
    ends = [middle + (end - middle) * widen for end in (medians[tail], medians[-1 - tail])]
    low, high = (math.exp(min(end, LARGEST)) for end in ends)
    return {"low": round(low, 6), "high": round(high, 6)}


def _widening(n: int) -> float:
    student = STUDENT[n - 2] if n - 2 < len(STUDENT) else NORMAL * (1 + 1.21 / (n - 1))
    return student / NORMAL * math.sqrt(n / (n - 1))


def spread(values: Iterable[float | None]) -> dict | None:
    """{n, median, p95, max} of what was measured, None for nothing; p95 only where enough values give one."""
    ranked = sorted(value for value in values if value is not None)
    if not ranked:
        return None
    p95 = ranked[math.ceil(0.95 * len(ranked)) - 1] if len(ranked) >= TAIL_NEEDS else None
    return {
        "n": len(ranked),
        "median": round(median(ranked), 6),
        "p95": None if p95 is None else round(p95, 6),
        "max": round(ranked[-1], 6),
    }


def is_time(seconds: float | None) -> TypeGuard[float]:
    """Whether this is a duration that can have been measured."""
    return seconds is not None and 1e-6 <= seconds <= LONGEST_S


def interval_text(ends: Mapping[str, Any]) -> str:
    """An interval's ends in words."""
    return f"{ends['low']:.3g} to {ends['high']:.3g}"
