# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures over all trials of a pair: the output's verdict, the timing pair, other traffic."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from . import output
from .attempt import REUSED
from .interval import interval, is_time

LOOKUP_TIMEOUT_S = 3.0  # lookup_timeout_ms, default of LMCache 0.5.6


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
    """Compares every reuse with its recompute.

    "differs" needs two trials that agree on it, and a third of all.  "equal" needs a comparison for every reuse; where
    no knock-out was possible, for the one that the reference belongs to.
    """
    pairs = _comparisons(case, attempts)
    if not pairs:
        return OutputVerdict("none", "nothing was reused")
    floor, scale = _floor(case), _scale(case)
    dtype = case.receiver.meta("kv_dtype")
    seen = [output.compare(trial["reuse"], recompute, floor, scale, dtype) for trial, recompute in pairs]
    states = [c.state for c in seen]
    worst = max((c.difference for c in seen if c.difference is not None), default=None)
    limit = max((c.limit for c in seen if c.limit is not None), default=None)
    common = {"difference": worst, "limit": limit, "floor": floor}
    apart = states.count("differs")
    if apart >= 2 and apart * 3 >= len(states):
        return OutputVerdict("differs", f"apart by up to {worst}", apart, **common)
    if all(state == "unread" for state in states):
        return _by_text(pairs)
    if apart or states.count("unclear") * 2 > len(states):
        return OutputVerdict("unclear", f"apart by {worst}, damage would be above {limit}", len(states), **common)
    if "unread" in states:
        left = states.count("unread")
        return OutputVerdict("unread", f"{left} of {len(states)} reuses have no recompute to compare with", left)
    return OutputVerdict("equal", f"log-probabilities within {worst} of a recompute's", len(states), **common)


def _comparisons(case, attempts) -> list[tuple[dict, dict | None]]:
    """(trial, its recompute or None) of every reuse that has to be compared."""
    reused = [(trial, a) for trial, a in zip(case.trials, attempts) if a.outcome in REUSED]
    if not any(trial.get("knockout") for trial in case.trials):
        last = next((trial for trial in reversed(case.trials) if trial.get("reuse")), None)
        reference = case.probe.get("reference")
        mine = [(trial, reference) for trial, _ in reused if trial is last]
        return mine or [(trial, None) for trial, _ in reused]
    return [(trial, recompute_of(trial, a)) for trial, a in reused]


def recompute_of(trial: dict, attempt) -> dict | None:
    """The trial's knock-out where it is a recompute: one that was made to miss must be seen to have missed."""
    if trial.get("knockout_how") == "none" or attempt.control_hits.get("knockout") == 0:
        return trial.get("knockout")
    return None


def _by_text(pairs) -> OutputVerdict:
    """Without log-probabilities only an answer counts that the prefix alone states: text alone is a weak witness."""
    scores = [
        (
            output.words_right(trial["reuse"], trial.get("expected_text")),
            output.words_right(recompute, trial.get("expected_text")),
        )
        for trial, recompute in pairs
    ]
    told = [(reuse, cold) for reuse, cold in scores if cold is not None and cold >= output.WORDS_TELL]
    wrong = sum(1 for reuse, _ in told if reuse == 0)
    if wrong >= 2 and wrong * 3 >= len(pairs):
        return OutputVerdict("differs", "the recompute continues the prefix, the reuse does not", wrong)
    right = sum(1 for reuse, _ in told if reuse is not None and reuse >= output.WORDS_TELL)
    if right == len(pairs):
        return OutputVerdict("equal", "the answers state what only the prefix says, as the recomputes do", right)
    return OutputVerdict("unread", "no log-probabilities, and the text alone proves too little", len(pairs))


def unread_controls(case, attempts, never_seen: int | None) -> list[str]:
    """Names of the controls without which a proven reuse proves little, and that could not be read."""
    proven = [(trial, a) for trial, a in zip(case.trials, attempts) if a.outcome == "proven"]
    if not proven:
        return []
    left = ["never-seen"] if never_seen is None else []
    if any(trial.get("knockout") for trial in case.trials):
        unread = [
            a for trial, a in proven if trial.get("knockout_how") != "none" and a.control_hits.get("knockout") is None
        ]
        unread += [a for trial, a in proven if trial.get("knockout_how") == "none" and not trial.get("knockout")]
        left += ["knock-out"] if unread else []
    return left


def _last_recompute(case) -> dict:
    """The recompute of the last trial that has one; the controls are made after its prompt."""
    knocked = [
        trial["knockout"] for trial in case.trials if trial.get("knockout") and not trial["knockout"].get("error")
    ]
    return knocked[-1] if knocked else case.probe.get("reference") or {}


def _floor(case) -> float | None:
    """Difference of two recomputes of one prompt: the noise of this engine, in nats."""
    again = case.probe.get("recompute") or {}
    return output.difference(_last_recompute(case).get("logprobs"), again.get("logprobs"))


def _scale(case) -> float | None:
    """What another prefix with the same ending does to the first token's log-probabilities, in nats."""
    never = (case.probe.get("never_seen") or {}).get("logprobs") or []
    return output.difference(never[:1], _last_recompute(case).get("logprobs"))


def timing_pairs(case, attempts, outcomes=REUSED) -> list[tuple[float, float]]:
    """TTFT in seconds of (reuse, recompute) of one prompt, for trials that have both.

    A recompute that ran into the lookup time-out is no measure of prefill, so its trial is left out.
    """
    slow = lookup_timeout_s(case)
    pairs = []
    for trial, attempt in zip(case.trials, attempts):
        reuse, cold = trial.get("reuse") or {}, trial.get("knockout") or {}
        warm_s, cold_s = reuse.get("ttft_s"), cold.get("ttft_s")
        if attempt.outcome in outcomes and is_time(warm_s) and is_time(cold_s) and cold_s < slow:
            pairs.append((warm_s, cold_s))
    return pairs


def case_speed(case, attempts, outcomes=REUSED) -> dict | None:
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


def announced_late(case, attempts) -> int | None:
    """Rise of the holder's key count over the run where no reuse saw it in time, and all missed; else None.

    It counts when it is at least the chunks of all seeds: the warm-up alone cannot have made it.
    """
    missed = attempts and all(a.outcome == "missed" and a.announced is False and a.expected for a in attempts)
    chunk = case.chunk_size()
    counts = [_key_count(c, case.holder.instance_id) for c in (case.probe.get("controller"), _after(case))]
    if not missed or not chunk or None in counts or case.holder.instance_id == case.receiver.instance_id:
        return None
    rise = counts[1] - counts[0]
    return rise if rise >= sum(a.expected // chunk for a in attempts) else None


def _after(case) -> dict | None:
    """The controller as it was seen on its host, which is asked when the probe is over."""
    named = [c for c in case.evidence.get("controllers") or [] if c and c.get("workers") is not None]
    return named[0] if named else None


def _key_count(controller: dict | None, instance_id: str | None) -> int | None:
    workers = (controller or {}).get("workers") or []
    mine = [w.get("key_count") for w in workers if instance_id and w.get("instance_id") == instance_id]
    return min(mine) if mine and None not in mine else None


def lookup_timeout_s(case) -> float:
    """After how many seconds the receiver gives a lookup up."""
    return (case.receiver.count("lookup_timeout_ms") or 0) / 1000 or LOOKUP_TIMEOUT_S


def counter_delta(case, side, name: str) -> float | None:
    """Rise of a counter over the probe; None when a page lacks it, or it fell (the engine was restarted)."""
    pages = side.engine.get("metrics") or {}
    before, after = (pages.get(when) or {} for when in ("before", "after"))
    first, last = ((page.get("values") or {}).get(name) for page in (before, after))
    if last is None or (first is None and before.get("state") != "ok"):
        return None
    rise = last - (first or 0.0)
    return rise if rise >= 0 else None


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
