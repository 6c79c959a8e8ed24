# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures of a pair in words: prefill, TTFT, time between tokens, the answer, the counters operators know."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from ..language import mark, say, told
from ..parts import Histogram, Length, Pair, Performance, Spread, Tunnel
from .clean import short

ANSWER = 120  # characters of the answer that are shown
COUNTERS_NOTE = mark(
    "What the counters can prove: retrieve_hit_rate is 1 also when nothing was retrieved in the last interval. "
    "num_hit_tokens is written every 10 s and counts hits in the node's own cache as well, so it cannot tell P2P from "
    "local reuse. No verdict rests on either."
)


def lines(pair: Pair) -> list[tuple[str, str]]:
    """(label, text) of what was measured; a figure that was not measured is left out."""
    figures = [
        ("prefill", _prefill(pair)),
        ("TTFT", _ttft(pair)),
        (say("between tokens"), _between(pair)),
        ("KV", _moved(pair)),
        (say("lengths"), _lengths(pair)),
        *((say("tunnel"), text) for text in _tunnels(pair)),
        (say("answer"), _answer(pair)),
        (say("through the router"), _router(pair)),
        *((say("counters"), text) for text in _counters(pair)),
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
    return say(
        "{time} on {holder} (TTFT of the seed, {tokens} tokens)" if tokens else "{time} on {holder} (TTFT of the seed)",
        time=milliseconds(ttft),
        holder=pair["holder"],
        tokens=tokens,
    )


def _ttft(pair: Pair) -> str | None:
    speed = pair["performance"]
    if speed:
        return say(
            "{reused} reused, {recomputed} recomputed on {receiver} ({speedup:.2f}x{sure}; median of {trials})",
            reused=milliseconds(speed["reused_s"]),
            recomputed=milliseconds(speed["recomputed_s"]),
            receiver=pair["receiver"],
            speedup=speed["speedup"],
            sure=_sure(speed),
            trials=speed["trials"],
        )
    ttft = median_of(trial["reused_ttft_s"] for trial in pair["trials"])
    if ttft is None:
        return None
    loaded = any(trial["loaded"] for trial in pair["trials"])
    return say(
        "{time} on {receiver}, reused, with no recompute to compare"
        if loaded
        else "{time} on {receiver}, not known to be reused",
        time=milliseconds(ttft),
        receiver=pair["receiver"],
    )


def _sure(speed: Performance | Length) -> str:
    ends = speed["interval"]
    return say(", 95 % interval {low:.3g} to {high:.3g}x", **ends) if ends else ""


def _moved(pair: Pair) -> str | None:
    """From the end of the seed until its KV was seen, then transfer and load."""
    moved, visible = pair["timing"]["moved"], pair["timing"]["visible_s"]
    texts = []
    if visible:
        middle, most = milliseconds(visible["median"]), milliseconds(visible["max"])
        texts.append(say("visible after {middle}, at most {most}", middle=middle, most=most))
    if not moved:
        return "; ".join(texts) or None
    steps = (
        (say("transfer"), moved["transfer_s"], moved["transfer_gb_s"]),
        (say("load"), moved["load_s"], moved["load_gb_s"]),
    )
    for label, took, speed in steps:
        if took:
            seconds = milliseconds(took["median"]) if took["median"] else say("below 1 ms")
            texts.append(f"{label} {seconds}" + (_at(speed["median"]) if speed else ""))
    if moved["histogram"] and not moved["transfer_s"]:
        texts.append(_histogram(moved["histogram"]))
    return "; ".join(texts) or None


def _histogram(histogram: Histogram) -> str:
    if histogram["state"] != "ok" or histogram["mean_s"] is None:
        return say("holder's histogram of transfers: {state}", state=told(histogram["state"]))
    return say(
        "transfer {time}{speed} (mean of {count} transfers, failed ones among them, by the holder's histogram)",
        time=milliseconds(histogram["mean_s"]),
        speed=_at(histogram["mean_gb_s"]) if histogram["mean_gb_s"] is not None else "",
        count=histogram["transfers"],
    )


def _at(gb_s: float) -> str:
    return say(" at {speed:.3g} GB/s", speed=gb_s)


def _lengths(pair: Pair) -> str | None:
    break_even = pair["timing"]["break_even"]
    texts = [length_line(length) for length in pair["timing"]["lengths"]]
    return "; ".join([*texts, *([break_even["text"]] if break_even else [])]) or None


def length_line(length: Length) -> str:
    """One length of kv_reuse_lengths in words."""
    warm_s, cold_s, speedup = length["reused_s"], length["recomputed_s"], length["speedup"]
    if warm_s is None or cold_s is None or speedup is None:
        return say("{tokens} skipped: {why}", tokens=length["asked"], why=length["skipped"])
    return say(
        "{tokens} tokens {reused} reused, {recomputed} recomputed ({speedup:.2f}x{sure})",
        tokens=length["tokens"],
        reused=milliseconds(warm_s),
        recomputed=milliseconds(cold_s),
        speedup=speedup,
        sure=_sure(length),
    )


def _between(pair: Pair) -> str | None:
    timing = pair["timing"]
    spreads = (("ITL", timing["itl_s"]), ("TPOT", timing["tpot_s"]))
    parts = [f"{name} {_spread(spread)}" for name, spread in spreads if spread]
    return say("{times} on {receiver}", times="; ".join(parts), receiver=pair["receiver"]) if parts else None


def _spread(spread: Spread) -> str:
    middle, most = milliseconds(spread["median"]), milliseconds(spread["max"])
    if spread["p95"] is None:
        return say("{middle}, at most {most}", middle=middle, most=most)
    p95 = milliseconds(spread["p95"])
    return say("{middle}, 95 % within {p95}, at most {most}", middle=middle, p95=p95, most=most)


def _tunnels(pair: Pair) -> list[str]:
    texts = []
    for name, tunnel in tunnels(pair):
        rtt_s, most_s = tunnel["rtt_s"], tunnel["rtt_max_s"]
        if rtt_s is not None:
            texts.append(
                say(
                    "SSH to {name}: {time} a round trip (median of {pings}{most}), part of each time above and not "
                    "subtracted",
                    name=name,
                    time=milliseconds(rtt_s),
                    pings=tunnel["pings"],
                    most="" if most_s is None else say(", at most {most}", most=milliseconds(most_s)),
                )
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
    ended = say("finish reason {reason}", reason=answer["finish_reason"]) if answer["finish_reason"] else None
    text = f'"{short(answer["text"], ANSWER)}"' if answer["text"] else say("no text")
    length = say("{count} tokens, ", count=tokens) if tokens is not None else ""
    return f"{text} ({length}{ended or say('no finish reason')})"


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
        rise = say("not seen") if hits is None else f"+{hits:.0f}{say(' (not flushed yet)') if unflushed else ''}"
        now = say("not seen") if rate is None else say("{rate:g} now", rate=rate)
        texts.append(f"{name}: num_hit_tokens {rise}, retrieve_hit_rate {now}")
    return texts
