# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""TTFT by prompt length: what was measured at each length asked for, and from which length on reuse is worth it."""

from __future__ import annotations

from statistics import median

from .case import Case
from .interval import interval, is_time


def summaries(case: Case) -> list[dict]:
    """One entry per length asked for, shortest first; ``skipped`` says why nothing was measured there."""
    slow = case.lookup_timeout_s
    entries = [_summary(length, slow) for length in case.probe.get("lengths") or [] if length.get("asked")]
    return sorted(entries, key=lambda length: length["asked"])


def _summary(length: dict, slow: float) -> dict:
    pairs = [pair for trial in length.get("trials") or [] for pair in [_pair(trial, slow)] if pair]
    skipped = length.get("skipped")
    if not skipped and not pairs:
        skipped = _why_nothing(length.get("trials") or [])
    entry = {
        "asked": length["asked"],
        "tokens": length.get("tokens"),
        "pairs": len(pairs),
        "reused_s": None,
        "recomputed_s": None,
        "speedup": None,
        "interval": None,
        "skipped": skipped if not pairs else None,
    }
    if pairs:
        ratios = [cold / warm for warm, cold in pairs]
        entry.update(
            reused_s=round(median(warm for warm, _cold in pairs), 6),
            recomputed_s=round(median(cold for _warm, cold in pairs), 6),
            speedup=round(median(ratios), 3),
            interval=interval(ratios),
        )
    return entry


def _pair(trial: dict, slow: float) -> tuple[float, float] | None:
    """TTFT in seconds of (reuse, recompute) of one trial; None where either is not what it is called.

    The reuse must have had all expected tokens from cache, the recompute none, and the recompute must not have waited
    for a lookup that timed out: its TTFT exceeds the seed's, a prefill of the same length, by less than 0.9 of the
    time-out.
    """
    reuse, cold, expected = trial.get("reuse") or {}, trial.get("knockout") or {}, trial.get("expected_hit")
    if not expected or (reuse.get("cached_tokens") or 0) < expected or cold.get("cached_tokens") != 0:
        return None
    warm_s, cold_s = reuse.get("ttft_s"), cold.get("ttft_s")
    if not is_time(warm_s) or not is_time(cold_s):
        return None
    waited = cold_s - ((trial.get("seed") or {}).get("ttft_s") or 0) >= 0.9 * slow
    return None if waited else (warm_s, cold_s)


def _why_nothing(trials: list[dict]) -> str:
    requests = [trial.get(role) or {} for trial in trials for role in ("seed", "reuse", "knockout")]
    error = next((request["error"].get("text") for request in requests if request.get("error")), None)
    if error:
        return error
    if any((trial.get("reuse") or {}).get("cached_tokens") is not None for trial in trials):
        return "not reused in whole, or the recompute hit or waited"
    return "the engine does not tell cached tokens (--enable-prompt-tokens-details)"


def break_even(lengths: list[dict]) -> dict | None:
    """{tokens, text}: the length from which on reuse is faster; tokens None where no single one was seen.

    Between two measured lengths the difference of both TTFTs is taken as straight: prefill is about linear in the
    prompt's length, and so is a transfer.
    """
    measured = [length for length in lengths if length["reused_s"] and length["tokens"]]
    if not measured:
        return None
    gains = [length["recomputed_s"] - length["reused_s"] for length in measured]
    if all(gain > 0 for gain in gains):
        return {"tokens": None, "text": "reuse is faster at all measured lengths"}
    if all(gain <= 0 for gain in gains):
        return {"tokens": None, "text": "reuse is faster at none of the measured lengths"}
    turns = [at for at in range(1, len(gains)) if (gains[at] > 0) != (gains[at - 1] > 0)]
    if len(turns) > 1 or gains[0] > 0:
        faster = ", ".join(str(length["tokens"]) for length, gain in zip(measured, gains) if gain > 0)
        return {"tokens": None, "text": f"no single break-even: reuse is faster at {faster} tokens only"}
    at = turns[0]
    start, end = measured[at - 1]["tokens"], measured[at]["tokens"]
    tokens = round(start + (end - start) * -gains[at - 1] / (gains[at] - gains[at - 1]))
    return {"tokens": tokens, "text": f"reuse is faster from about {tokens} tokens on (between {start} and {end})"}
