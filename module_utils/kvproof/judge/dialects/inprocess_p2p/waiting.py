# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What TTFT shows without a log: requests lost to the time-out of LMCache's lookup, and loads that saved time."""

from __future__ import annotations

from ...case import Case

NEAR = 0.95  # of the time-out: clocks and rounding
CLEARLY_SOONER = 0.8  # of the quickest recompute


def timed_out_or_slow(case: Case, trial: dict) -> tuple[bool | None, bool]:
    """(timed out, slow) of a reuse that has no log line.

    Timed out: nothing reused, and the first token came later than a recompute by about the time-out.  Slow: it came
    after the time-out, but so did every recompute, and the two cannot be told apart.
    """
    reuse = trial.get("reuse") or {}
    ttft, limit = reuse.get("ttft_s"), NEAR * case.lookup_timeout_s
    if ttft is None or reuse.get("cached_tokens"):
        return None, False
    if ttft < limit:
        return False, False
    cold = _recompute_s(case)
    if cold is None or cold >= limit:
        return None, True
    lost = ttft >= limit + 0.5 * cold
    return (True, False) if lost else (None, True)


def disturbed(case: Case) -> bool:
    """Whether any request of this run on the receiver ran into the time-out, by its log where that shows it.

    After one did, replies can go to the wrong lookups, and a plain miss proves nothing.
    """
    for request in case.requests():
        if request.get("engine") != "receiver":
            continue
        lines = case.receiver.events_of(case.ids(request))
        if any(e.get("kind") == "lookup_timed_out" for e in lines):
            return True
        if (
            not lines
            and request.get("role") != "warmup"
            and (request.get("ttft_s") or 0) >= NEAR * case.lookup_timeout_s
        ):
            return True
    return False


def sooner(case: Case, reuse: dict) -> bool:
    """Whether the first token came clearly sooner than any recompute's.

    cached_tokens counts what the lookup promised; where the load fails and vLLM recomputes, it still does.
    """
    ttft, cold = reuse.get("ttft_s"), _recompute_s(case)
    return ttft is not None and cold is not None and ttft <= CLEARLY_SOONER * cold


def _recompute_s(case: Case) -> float | None:
    """How long the receiver takes to recompute such a prompt, at its quickest; None where it never had to."""
    controls = [trial.get("knockout") for trial in case.trials] + [
        case.probe.get(name) for name in ("never_seen", "recompute")
    ]
    times = [c["ttft_s"] for c in controls if c and not c.get("error") and c.get("ttft_s")]
    return min(times, default=None)
