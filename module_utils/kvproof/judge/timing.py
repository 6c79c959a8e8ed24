# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a pair's measurements come to: the "timing" part of its verdict.  Measures, decides nothing."""

from __future__ import annotations

from . import dialects
from .interval import spread
from .lengths import break_even, summaries
from .outcomes import timing_pairs


def timing(case, attempts) -> dict:
    """Spreads (interval.spread) of what was measured; None for what was not."""
    second = [trial.get("reuse") or {} for trial in case.trials]
    pairs = timing_pairs(case, attempts)
    visible = [trial.get("visible") or {} for trial in case.trials]
    gaps = [gap for request in second for gap in (request.get("itl_s") or {}).get("gaps") or []]
    lengths = summaries(case)
    return {
        "reused_ttft_s": spread([warm for warm, _ in pairs]),
        "recomputed_ttft_s": spread([cold for _, cold in pairs]),
        "itl_s": _spread(gaps),
        "tpot_s": _spread(request.get("tpot_s") for request in second),
        "visible_s": _spread(one.get("waited_s") for one in visible if one.get("reached")),
        "visible_how": next((one.get("how") for one in visible if one.get("reached")), None),
        "moved": dialects.transfers(case, attempts),
        "lengths": lengths,
        "break_even": break_even(lengths),
    }


def _spread(values) -> dict | None:
    return spread([value for value in values if value is not None])
