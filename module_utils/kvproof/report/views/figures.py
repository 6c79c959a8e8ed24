# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures of a pair in words: prefill, TTFT, time between tokens, the answer, the counters operators know."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from ...judge.interval import interval_text
from ..parts import Histogram, Length, Pair, Performance, Spread, Tunnel
from .clean import short

ANSWER = 120  # characters of the answer that are shown
COUNTERS_NOTE = (
    "What the counters can prove: retrieve_hit_rate is 1 also when nothing was retrieved in the last interval. "
    "num_hit_tokens is written every 10 s and counts hits in the node's own cache as well, so it cannot tell P2P from "
    "local reuse. No verdict rests on either."
)


def lines(pair: Pair) -> list[tuple[str, str]]:
    """(label, text) of what was measured; a figure that was not measured is left out."""
    figures = [
        ("prefill", _prefill(pair)),
        ("TTFT", _ttft(pair)),
        ("between tokens", _between(pair)),
        ("KV", _moved(pair)),
        ("lengths", _lengths(pair)),
        *(("tunnel", text) for text in _tunnels(pair)),
        ("answer", _answer(pair)),
        ("through the router", _router(pair)),
        *(("counters", text) for text in _counters(pair)),
    ]
    return [(label, text) for label, text in figures if text]


def has_counters(pair: Pair) -> bool:
    return bool(_counters(pair))


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def median_of(values: Iterable[float | None]) -> float | None:
    """Median of a figure over the trials that have it."""
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _prefill(pair: Pair) -> str | None:
    ttft = median_of(trial["seed_ttft_s"] for trial in pair["trials"])
    if ttft is None:
        return None
    tokens = pair["performance"] and pair["performance"]["tokens"]
    return f"{milliseconds(ttft)} on {pair['holder']} (TTFT of the seed{f', {tokens} tokens' if tokens else ''})"


def _ttft(pair: Pair) -> str | None:
    speed = pair["performance"]
    if speed:
        return (
            f"{milliseconds(speed['reused_s'])} reused, {milliseconds(speed['recomputed_s'])} recomputed on "
            f"{pair['receiver']} ({speed['speedup']:.2f}x{_sure(speed)}; median of {speed['trials']})"
        )
    ttft = median_of(trial["reused_ttft_s"] for trial in pair["trials"])
    if ttft is None:
        return None
    loaded = any(trial["loaded"] for trial in pair["trials"])
    what = "reused, with no recompute to compare" if loaded else "not known to be reused"
    return f"{milliseconds(ttft)} on {pair['receiver']}, {what}"


def _sure(speed: Performance | Length) -> str:
    ends = speed["interval"]
    return f", 95 % interval {interval_text(ends)}x" if ends else ""


def _moved(pair: Pair) -> str | None:
    """From the end of the seed until its KV was seen, then transfer and load."""
    moved, visible = pair["timing"]["moved"], pair["timing"]["visible_s"]
    texts = []
    if visible:
        texts.append(f"visible after {milliseconds(visible['median'])}, at most {milliseconds(visible['max'])}")
    if not moved:
        return "; ".join(texts) or None
    steps = (("transfer", moved["transfer_s"], moved["transfer_gb_s"]), ("load", moved["load_s"], moved["load_gb_s"]))
    for label, took, speed in steps:
        if took:
            seconds = milliseconds(took["median"]) if took["median"] else "below 1 ms"
            texts.append(f"{label} {seconds}" + (f" at {speed['median']:.3g} GB/s" if speed else ""))
    if moved["histogram"] and not moved["transfer_s"]:
        texts.append(_histogram(moved["histogram"]))
    return "; ".join(texts) or None


def _histogram(histogram: Histogram) -> str:
    if histogram["state"] != "ok" or histogram["mean_s"] is None:
        return f"holder's histogram of transfers: {histogram['state']}"
    speed = f" at {histogram['mean_gb_s']:.3g} GB/s" if histogram["mean_gb_s"] is not None else ""
    transfers = f"{histogram['transfers']} transfers, failed ones among them"
    return f"transfer {milliseconds(histogram['mean_s'])}{speed} (mean of {transfers}, by the holder's histogram)"


def _lengths(pair: Pair) -> str | None:
    break_even = pair["timing"]["break_even"]
    texts = [length_line(length) for length in pair["timing"]["lengths"]]
    return "; ".join([*texts, *([break_even["text"]] if break_even else [])]) or None


def length_line(length: Length) -> str:
    """One length of kv_reuse_lengths in words."""
    warm_s, cold_s, speedup = length["reused_s"], length["recomputed_s"], length["speedup"]
    if warm_s is None or cold_s is None or speedup is None:
        return f"{length['asked']} skipped: {length['skipped']}"
    both = f"{milliseconds(warm_s)} reused, {milliseconds(cold_s)} recomputed"
    return f"{length['tokens']} tokens {both} ({speedup:.2f}x{_sure(length)})"


def _between(pair: Pair) -> str | None:
    timing = pair["timing"]
    spreads = (("ITL", timing["itl_s"]), ("TPOT", timing["tpot_s"]))
    parts = [f"{name} {_spread(spread)}" for name, spread in spreads if spread]
    return "; ".join(parts) + f" on {pair['receiver']}" if parts else None


def _spread(spread: Spread) -> str:
    p95 = f", 95 % within {milliseconds(spread['p95'])}" if spread["p95"] is not None else ""
    return f"{milliseconds(spread['median'])}{p95}, at most {milliseconds(spread['max'])}"


def _tunnels(pair: Pair) -> list[str]:
    texts = []
    for name, tunnel in tunnels(pair):
        rtt_s, most_s = tunnel["rtt_s"], tunnel["rtt_max_s"]
        if rtt_s is not None:
            most = "" if most_s is None else f", at most {milliseconds(most_s)}"
            texts.append(
                f"SSH to {name}: {milliseconds(rtt_s)} a round trip (median of {tunnel['pings']}{most}), part of each "
                "time above and not subtracted"
            )
    return texts


def tunnels(pair: Pair) -> list[tuple[str, Tunnel]]:
    """The SSH tunnel to each node by the node's name, where there is one."""
    through = pair.get("tunnels") or {}
    both = ((pair["holder"], through.get("holder")), (pair["receiver"], through.get("receiver")))
    return [(name, tunnel) for name, tunnel in both if tunnel]


def _answer(pair: Pair) -> str | None:
    answer = pair["answer"]
    if not answer:
        return None
    tokens = answer["completion_tokens"]
    ended = f"finish reason {answer['finish_reason']}" if answer["finish_reason"] else "no finish reason"
    text = f'"{short(answer["text"], ANSWER)}"' if answer["text"] else "no text"
    return f"{text} ({f'{tokens} tokens, ' if tokens is not None else ''}{ended})"


def _router(pair: Pair) -> str | None:
    router = pair.get("router")
    return f"{router['url']}: {router['text']}" if router else None


def _counters(pair: Pair) -> list[str]:
    texts = []
    holder, receiver = pair["counters"]["holder"], pair["counters"]["receiver"]
    for name, counters in ((pair["holder"], holder), (pair["receiver"], receiver)):
        rate, hits = counters["retrieve_hit_rate"], counters["num_hit_tokens"]
        if rate is None and hits is None:
            continue
        unflushed = hits == 0 and counters is receiver and pair["counts"].get("proven")
        rise = "not seen" if hits is None else f"+{hits:.0f}{' (not flushed yet)' if unflushed else ''}"
        now = "not seen" if rate is None else f"{rate:g} now"
        texts.append(f"{name}: num_hit_tokens {rise}, retrieve_hit_rate {now}")
    return texts
