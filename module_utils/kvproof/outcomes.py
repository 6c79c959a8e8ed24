# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures over all trials of a pair: the output's verdict, the timing pair, other traffic."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from . import output

REUSED = ("proven", "unattributed", "local")


@dataclass(frozen=True)
class OutputVerdict:
    """state: "equal", "differs", "unclear", "unread" or "none" (no reuse to compare)."""

    state: str
    text: str
    trials: int = 0
    difference: float | None = None  # nats, the largest of the trials in question
    limit: float | None = None
    floor: float | None = None


def case_output(case, attempts) -> OutputVerdict:
    """Compares every reuse with its recompute.  "differs" needs two trials that agree on it."""
    pairs = [
        (trial.get("reuse"), trial.get("knockout") or case.probe.get("reference"))
        for trial, attempt in zip(case.trials, attempts)
        if attempt.outcome in REUSED
    ]
    if not pairs:
        return OutputVerdict("none", "nothing was reused")
    floor, scale = _floor(case), _scale(case)
    dtype = case.receiver.meta("kv_dtype")
    seen = [output.compare(reuse, recompute, floor, scale, dtype) for reuse, recompute in pairs]
    states = [c.state for c in seen]
    worst = max((c.difference for c in seen if c.difference is not None), default=None)
    limit = max((c.limit for c in seen if c.limit is not None), default=None)
    common = {"difference": worst, "limit": limit, "floor": floor}
    if states.count("differs") >= 2:
        return OutputVerdict("differs", f"apart by up to {worst}", states.count("differs"), **common)
    if "differs" in states or states.count("unclear") * 2 > len(states):
        return OutputVerdict("unclear", f"apart by {worst}, damage would be above {limit}", len(states), **common)
    if "equal" in states:
        return OutputVerdict(
            "equal", f"log-probabilities within {worst} of a recompute's", states.count("equal"), **common
        )
    return _by_text(case, seen, pairs)


def _by_text(case, seen, pairs) -> OutputVerdict:
    """Without log-probabilities: equal texts count only where the answer depends on the prefix and is sensible."""
    other = (case.probe.get("never_seen") or {}).get("text")
    texts_equal = all(c.text_equal for c in seen) and all(not output.nonsense(reuse) for reuse, _ in pairs)
    if texts_equal and other is not None and all(reuse.get("text") != other for reuse, _ in pairs):
        return OutputVerdict("equal", "same text as a recompute, and another than with another prefix", len(seen))
    return OutputVerdict("unread", "no log-probabilities, and the text alone proves too little", len(seen))


def _last_recompute(case) -> dict:
    """The recompute of the last trial that has one; the controls are made after its prompt."""
    knocked = [trial["knockout"] for trial in case.trials if trial.get("knockout")]
    return knocked[-1] if knocked else case.probe.get("reference") or {}


def _floor(case) -> float | None:
    """Difference of two recomputes of one prompt: the noise of this engine, in nats."""
    again = case.probe.get("recompute") or {}
    return output.difference(_last_recompute(case).get("logprobs"), again.get("logprobs"))


def _scale(case) -> float | None:
    """What another prefix with the same ending does to the first token's log-probabilities, in nats."""
    never = (case.probe.get("never_seen") or {}).get("logprobs") or []
    return output.difference(never[:1], _last_recompute(case).get("logprobs"))


def case_speed(case, attempts) -> dict | None:
    """Median TTFT of reused and of recomputed requests, in seconds, over trials that have both.

    A recompute that ran into the lookup time-out is no measure of prefill, so its trial is left out.
    """
    slow = _lookup_timeout(case)
    pairs = []
    for trial, attempt in zip(case.trials, attempts):
        reuse, cold = trial.get("reuse") or {}, trial.get("knockout") or {}
        if attempt.outcome in REUSED and reuse.get("ttft_s") and cold.get("ttft_s") and cold["ttft_s"] < slow:
            pairs.append((reuse["ttft_s"], cold["ttft_s"]))
    if not pairs:
        return None
    reused, recomputed = (median(column) for column in zip(*pairs))
    return {
        "reused_s": reused,
        "recomputed_s": recomputed,
        "speedup": round(recomputed / reused, 3),
        "trials": len(pairs),
        "tokens": case.prompt.get("tokens"),
    }


def _lookup_timeout(case) -> float:
    setting = case.receiver.setting("lookup_timeout_ms")
    return float(setting.value) / 1000 if setting and setting.value else 3.0


def counter_delta(case, side, name: str) -> float | None:
    """Rise of a counter over the probe; None when either page lacks it."""
    pages = side.engine.get("metrics") or {}
    values = [(pages.get(when) or {}).get("values", {}).get(name) for when in ("before", "after")]
    if values[1] is None or (values[0] is None and (pages.get("before") or {}).get("state") != "ok"):
        return None
    return values[1] - (values[0] or 0.0)


def foreign_requests(case, side) -> float | None:
    """Requests that the engine finished during the probe and that were not the probe's; None: unknown."""
    finished = counter_delta(case, side, "vllm:request_success_total")
    if finished is None:
        return None
    # the first page is read after the warm-up
    ours = sum(
        1 for r in case.requests() if r.get("engine") == side.role and r.get("role") != "warmup" and not r.get("error")
    )
    return finished - ours
