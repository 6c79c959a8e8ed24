# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures of a pair in words: prefill, TTFT, time between tokens, the answer, the counters operators know."""

from __future__ import annotations

from statistics import median

from .clean import short

ANSWER = 120  # characters of the answer that are shown
COUNTERS_NOTE = (
    "What the counters can prove: retrieve_hit_rate is 1 also when nothing was retrieved in the last interval. "
    "num_hit_tokens is written every 10 s and counts hits in the node's own cache as well, so it cannot tell P2P from "
    "local reuse. No verdict rests on either."
)


def lines(pair: dict) -> list[tuple[str, str]]:
    """(label, text) of what was measured; a figure that was not measured is left out."""
    found = [
        ("prefill", _prefill(pair)),
        ("TTFT", _ttft(pair)),
        ("between tokens", _between(pair)),
        *(("tunnel", text) for text in _tunnels(pair)),
        ("answer", _answer(pair)),
        *(("counters", text) for text in _counters(pair)),
    ]
    return [(label, text) for label, text in found if text]


def has_counters(pair: dict) -> bool:
    return bool(_counters(pair))


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def median_of(pair: dict, key: str) -> float | None:
    """Median of a figure over the trials that have it."""
    values = [trial[key] for trial in pair["trials"] if trial.get(key) is not None]
    return median(values) if values else None


def _prefill(pair: dict) -> str | None:
    seen = median_of(pair, "seed_ttft_s")
    if seen is None:
        return None
    tokens = (pair.get("performance") or {}).get("tokens")
    return f"{milliseconds(seen)} on {pair['holder']} (TTFT of the seed{f', {tokens} tokens' if tokens else ''})"


def _ttft(pair: dict) -> str | None:
    speed = pair.get("performance")
    if speed:
        return (
            f"{milliseconds(speed['reused_s'])} reused, {milliseconds(speed['recomputed_s'])} recomputed on "
            f"{pair['receiver']} ({speed['speedup']:.2f}x; median of {speed['trials']})"
        )
    seen = median_of(pair, "reused_ttft_s")
    if seen is None:
        return None
    loaded = any(trial.get("loaded") for trial in pair["trials"])
    what = "reused, with no recompute to compare" if loaded else "not known to be reused"
    return f"{milliseconds(seen)} on {pair['receiver']}, {what}"


def _between(pair: dict) -> str | None:
    parts = []
    means = [trial["itl_s"]["mean"] for trial in pair["trials"] if (trial.get("itl_s") or {}).get("mean") is not None]
    if means:
        slowest = max((trial.get("itl_s") or {}).get("max") or 0 for trial in pair["trials"])
        parts.append(f"ITL {milliseconds(median(means))}, at most {milliseconds(slowest)}")
    tpot = median_of(pair, "tpot_s")
    if tpot is not None:
        parts.append(f"TPOT {milliseconds(tpot)}")
    return "; ".join(parts) + f" on {pair['receiver']}" if parts else None


def _tunnels(pair: dict) -> list[str]:
    found = []
    for role, seen in (pair.get("tunnels") or {}).items():
        if seen.get("rtt_s") is not None:
            found.append(
                f"SSH to {pair[role]}: {milliseconds(seen['rtt_s'])} a round trip (median of {seen['pings']}, at most "
                f"{milliseconds(seen['rtt_max_s'])}), part of each time above and not subtracted"
            )
    return found


def _answer(pair: dict) -> str | None:
    answer = pair.get("answer")
    if not answer:
        return None
    tokens = answer.get("completion_tokens")
    ended = f"finish reason {answer['finish_reason']}" if answer.get("finish_reason") else "no finish reason"
    text = f"“{short(answer['text'], ANSWER)}”" if answer.get("text") else "no text"
    return f"{text} ({f'{tokens} tokens, ' if tokens is not None else ''}{ended})"


def _counters(pair: dict) -> list[str]:
    found = []
    for role in ("holder", "receiver"):
        seen = pair["counters"].get(role) or {}
        rate, hits = seen.get("retrieve_hit_rate"), seen.get("num_hit_tokens")
        if rate is None and hits is None:
            continue
        unflushed = hits == 0 and role == "receiver" and pair["counts"].get("proven")
        rise = "not seen" if hits is None else f"+{hits:.0f}{' (not flushed yet)' if unflushed else ''}"
        shown = "not seen" if rate is None else f"{rate:g} now"
        found.append(f"{pair[role]}: num_hit_tokens {rise}, retrieve_hit_rate {shown}")
    return found
