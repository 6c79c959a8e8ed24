# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures of a pair in words: prefill, TTFT, time between tokens, the answer, the counters operators know."""

from __future__ import annotations

from statistics import median

from ...judge.interval import shown
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
        ("KV", _moved(pair)),
        ("lengths", _lengths(pair)),
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
            f"{pair['receiver']} ({speed['speedup']:.2f}x{_sure(speed)}; median of {speed['trials']})"
        )
    seen = median_of(pair, "reused_ttft_s")
    if seen is None:
        return None
    loaded = any(trial.get("loaded") for trial in pair["trials"])
    what = "reused, with no recompute to compare" if loaded else "not known to be reused"
    return f"{milliseconds(seen)} on {pair['receiver']}, {what}"


def _sure(speed: dict) -> str:
    ends = speed.get("interval")
    return f", 95 % interval {shown(ends)}x" if ends else ""


def _moved(pair: dict) -> str | None:
    """From the end of the seed until its KV was seen, then transfer and load."""
    timing = pair.get("timing") or {}
    moved, visible = timing.get("moved") or {}, timing.get("visible_s")
    parts = (
        [f"visible after {milliseconds(visible['median'])}, at most {milliseconds(visible['max'])}"] if visible else []
    )
    for name, label in (("transfer", "transfer"), ("load", "load")):
        took, speed = moved.get(f"{name}_s"), moved.get(f"{name}_gb_s")
        if took:
            seconds = milliseconds(took["median"]) if took["median"] else "below 1 ms"
            parts.append(f"{label} {seconds}" + (f" at {speed['median']:.3g} GB/s" if speed else ""))
    histogram = moved.get("histogram")
    if histogram and "transfer_s" in moved and not moved["transfer_s"]:
        parts.append(_histogram(histogram))
    return "; ".join(parts) or None


def _histogram(histogram: dict) -> str:
    if histogram["state"] != "ok" or histogram["mean_s"] is None:
        return f"holder's histogram of transfers: {histogram['state']}"
    speed = f" at {histogram['mean_gb_s']:.3g} GB/s" if histogram["mean_gb_s"] is not None else ""
    transfers = f"{histogram['transfers']} transfers, failed ones among them"
    return f"transfer {milliseconds(histogram['mean_s'])}{speed} (mean of {transfers}, by the holder's histogram)"


def _lengths(pair: dict) -> str | None:
    timing = pair.get("timing") or {}
    told = [length_line(one) for one in timing.get("lengths") or []]
    more = [timing["break_even"]["text"]] if timing.get("break_even") else []
    return "; ".join(told + more) or None


def length_line(one: dict) -> str:
    """One length of kv_reuse_lengths in words."""
    if one["skipped"]:
        return f"{one['asked']} skipped: {one['skipped']}"
    both = f"{milliseconds(one['reused_s'])} reused, {milliseconds(one['recomputed_s'])} recomputed"
    return f"{one['tokens']} tokens {both} ({one['speedup']:.2f}x{_sure(one)})"


def _between(pair: dict) -> str | None:
    timing = pair.get("timing") or {}
    parts = [
        f"{name} {_spread(timing[key])}" for name, key in (("ITL", "itl_s"), ("TPOT", "tpot_s")) if timing.get(key)
    ]
    return "; ".join(parts) + f" on {pair['receiver']}" if parts else None


def _spread(seen: dict) -> str:
    p95 = f", 95 % within {milliseconds(seen['p95'])}" if seen["p95"] is not None else ""
    return f"{milliseconds(seen['median'])}{p95}, at most {milliseconds(seen['max'])}"


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
