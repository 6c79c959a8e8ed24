# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the page draws, as places and lengths; the template makes SVG of them.

All drawings are WIDE units wide, so that a telephone shows their words in about the size of its own.  A drawing is
None where its figures were not measured: nothing is drawn that nobody saw.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import floor, log10

from ...judge.verdict import PASS
from ...plan.pair import Key, key_of
from .. import document, language
from ..language import say
from ..parts import Cluster, Link, Pair, Past, Point, Spread, Trial, Word
from .changes import when
from .figures import median_of, milliseconds

WIDE = 340.0
LEFT = 4.0
CELLS = 1024  # of one cluster's matrix; a larger one is a list
STATES = {"holds": "h", "holds (inferred)": "i", "broken": "b", "unknown": "u", "not needed": "n"}
# Where a link of the chain is drawn: at the holder, between both, or at the receiver.
_HOLDER, _BETWEEN, _RECEIVER = 34, 72, 110
_FROM_HOLDER = 7
_LANES = {_FROM_HOLDER: _HOLDER, 11: _RECEIVER, 12: _RECEIVER, 13: _RECEIVER}
_STEP, _FIRST = 57, 70


@dataclass(frozen=True)
class Bar:
    label: str
    text: str
    kind: str  # "seed", "wait", "reused" or "recomputed"
    x: float
    width: float
    within: bool = False  # a length whose place within the bar above was not measured


@dataclass(frozen=True)
class Strip:
    """Values of one kind on a common axis."""

    kind: str
    dots: list[float]
    middle: float
    text: str


@dataclass(frozen=True)
class Speedup:
    """A ratio, its interval where there is one, and the place of 1: no gain."""

    middle: float
    ends: tuple[float, float] | None
    one: float
    text: str


@dataclass(frozen=True)
class Curve:
    """Time over length of prompt: points of polylines, and the axes' marks."""

    reused: list[tuple[float, float]]
    recomputed: list[tuple[float, float]]
    lengths: list[tuple[float, str]]
    times: list[tuple[float, str]]
    even: float | None


@dataclass(frozen=True)
class Spark:
    """A pair in earlier runs and, at the right, in this one.  marks: (class, places, verdicts) of runs of a colour."""

    marks: list[tuple[str, list[int], list[Word]]]
    path: str  # of the times to the first token, with gaps where no reuse is proven
    verdicts: str
    times: str | None
    told: str


@dataclass(frozen=True)
class Matrix:
    holders: list[str]
    receivers: list[str]
    pairs: dict[tuple[str, str], Pair]


def place(number: int) -> tuple[int, int]:
    """Where a link stands in the drawing of the chain."""
    return _FIRST + (number - 1) * _STEP, _LANES.get(number, _BETWEEN)


def name_y(number: int) -> int:
    """Where a link's name stands: above or below it, in turn, so that neighbours leave each other room."""
    y = place(number)[1]
    above = number in (1, 3, 5, _FROM_HOLDER, 10, 12)
    return y - 16 if above else y + 25


def told(links: list[Link]) -> str:
    """The drawing of a chain in words, for who does not see it."""
    by_state: dict[str, list[str]] = {}
    for link in links:
        by_state.setdefault(link["state"], []).append(str(link["link"]))
    return "; ".join(f"{language.told(state)}: {', '.join(numbers)}" for state, numbers in by_state.items())


def waterfall(pair: Pair) -> list[Bar] | None:
    """A trial's requests one after the other, by the medians over trials; the pauses between them are not drawn."""
    seed, wait = _median(pair["trials"], "seed_ttft_s"), _median(pair["trials"], "visible_s")
    reused, recomputed = _median(pair["trials"], "reused_ttft_s"), _median(pair["trials"], "recomputed_ttft_s")
    if seed is None or reused is None:
        return None
    second = seed + (wait or 0)
    scale = (WIDE - 2 * LEFT) / (second + max(reused, recomputed or 0) or 1)

    def bar(label: str, kind: str, start: float, length: float, within: bool = False) -> Bar:
        text = milliseconds(length) if length else say("below 1 ms")
        return Bar(label, text, kind, round(LEFT + start * scale, 1), max(2, round(length * scale, 1)), within)

    def part(label: str, kind: str, start: float, spread: Spread | None) -> Bar | None:
        return bar(label, kind, start, spread["median"], within=True) if spread else None

    moved = pair["timing"]["moved"]
    store, transfer, load = (moved["store_s"], moved["transfer_s"], moved["load_s"]) if moved else (None,) * 3
    proven, there = pair["counts"].get("proven"), pair["receiver"]
    second_label = say("reuse at {receiver}" if proven else "second request at {receiver}", receiver=there)
    rows = [
        bar(say("seed at {holder}", holder=pair["holder"]), "seed", 0, seed),
        part(say("store"), "seed", 0, store),
        bar(say("until seen stored"), "wait", seed, wait) if wait is not None else None,
        bar(second_label, "reused", second, reused),
        part(say("transfer"), "reused", second, transfer),
        part(say("load"), "reused", second, load),
        bar(say("recompute there"), "recomputed", second, recomputed) if recomputed is not None else None,
    ]
    return [row for row in rows if row]


def strips(pair: Pair) -> list[Strip] | None:
    """Times to the first token of trials that have both, reused over recomputed."""
    both = [
        (reused, recomputed)
        for trial in pair["trials"]
        if (reused := trial["reused_ttft_s"]) is not None and (recomputed := trial["recomputed_ttft_s"]) is not None
    ]
    speed = pair["performance"]
    if not both or not speed:
        return None
    top = max(max(times) for times in both) or 1.0

    def x(seconds: float) -> float:
        return round(LEFT + seconds / top * (WIDE - 3 * LEFT), 1)

    kinds = (("reused", speed["reused_s"], 0), ("recomputed", speed["recomputed_s"], 1))
    return [
        Strip(kind, [x(times[at]) for times in both], min(x(middle), WIDE - LEFT), milliseconds(middle))
        for kind, middle, at in kinds
    ]


def speedup(pair: Pair) -> Speedup | None:
    speed = pair["performance"]
    if not speed:
        return None
    ends = speed["interval"]
    top = max(1.0, speed["speedup"], ends["high"] if ends else 0.0)

    def x(ratio: float) -> float:
        return round(LEFT + ratio / top * (WIDE - 3 * LEFT), 1)

    interval = (
        say(", 95 % within {low:.3g} to {high:.3g}x", **ends) if ends else say(", too few trials for an interval")
    )
    text = f"{speed['speedup']:.2f}x{interval}"
    return Speedup(x(speed["speedup"]), (x(ends["low"]), x(ends["high"])) if ends else None, x(1), text)


def curve(pair: Pair) -> Curve | None:
    """Time to the first token over the length of the prompt, where several lengths were measured."""
    measured = [
        (tokens, reused, recomputed)
        for length in pair["timing"]["lengths"]
        if (tokens := length["tokens"]) and (reused := length["reused_s"]) is not None
        if (recomputed := length["recomputed_s"]) is not None
    ]
    if len(measured) < 2:
        return None
    most, top = max(tokens for tokens, *_ in measured), max(max(times) for _, *times in measured) or 1.0
    break_even = pair["timing"]["break_even"]
    even = break_even["tokens"] if break_even else None

    def x(tokens: float) -> float:
        return round(48 + tokens / most * (WIDE - 72), 1)

    def y(seconds: float) -> float:
        return round(112 - seconds / top * 100, 1)

    return Curve(
        [(x(tokens), y(reused)) for tokens, reused, _ in measured],
        [(x(tokens), y(recomputed)) for tokens, _, recomputed in measured],
        _apart([(x(tokens), str(tokens)) for tokens, *_ in measured]),
        [(y(seconds), milliseconds(seconds)) for seconds in _marks(top)],
        x(even) if even is not None and even <= most else None,
    )


def spark(pair: Pair, past: Past | None, finished_at: str | None) -> Spark | None:
    """None where no earlier run is known."""
    if not past or not finished_at:
        return None
    reused = _median(pair["trials"], "reused_ttft_s") if pair["verdict"] == PASS else None
    now: Point = {**pair, "at": finished_at, "reused_ttft_s": reused}  # type: ignore[typeddict-item]
    runs = [*past["earlier"], now]
    places = [round(WIDE) - 12 - (len(runs) - 1 - at) * 16 for at in range(len(runs))]
    words = ["waived" if run["waived"] else run["verdict"] for run in runs]
    marks: dict[str, tuple[str, list[int], list[Word]]] = {word: (word, [], []) for word in words}
    for word, x, run in zip(words, places, runs):
        marks[word][1].append(x)
        marks[word][2].append(run["verdict"])
    counts = ", ".join(f"{count} {say(document.COUNTED[word])}" for word, count in Counter(words).items())
    known = [time for run in runs if (time := run["reused_ttft_s"]) is not None]
    return Spark(
        list(marks.values()),
        _path(places, [run["reused_ttft_s"] for run in runs]),
        say(
            "{count} runs from {first} to {last}: {counts}",
            count=len(runs),
            first=when(runs[0]["at"]),
            last=when(runs[-1]["at"]),
            counts=counts,
        ),
        say(
            "TTFT reused {least} to {most}, the latest {latest}",
            least=milliseconds(min(known)),
            most=milliseconds(max(known)),
            latest=milliseconds(known[-1]),
        )
        if known
        else None,
        say("Verdicts, oldest first: {words}", words=", ".join(say(document.COUNTED[word]) for word in words)),
    )


def _path(places: list[int], times: list[float | None]) -> str:
    top, steps, drawn = max((time for time in times if time is not None), default=0) or 1.0, [], False
    for x, time in zip(places, times):
        if time is not None:
            steps.append(f"{'L' if drawn else 'M'}{x} {60 - time / top * 28:.0f}{'' if drawn else 'h0'}")
        drawn = time is not None
    return "".join(steps)


def _apart(labels: list[tuple[float, str]], least: float = 34) -> list[tuple[float, str]]:
    """The labels that have room, from the right."""
    kept: list[tuple[float, str]] = []
    for at, text in reversed(labels):
        if not kept or kept[-1][0] - at >= least:
            kept.append((at, text))
    return kept


def _marks(top: float) -> list[float]:
    """Two to five round numbers from 0 up to top."""
    step = 10 ** floor(log10(top))
    step = next(size for size in (step / 5, step / 2, step, step * 2) if top / size <= 5)
    return [round(step * n, 12) for n in range(int(top / step) + 1)]


def matrix(cluster: Cluster) -> Matrix | None:
    """Prefill nodes by decode nodes; None where that is a single pair, or too large to be looked at."""
    holders = list(dict.fromkeys(pair["holder"] for pair in cluster["pairs"]))
    receivers = list(dict.fromkeys(pair["receiver"] for pair in cluster["pairs"]))
    if len(cluster["pairs"]) < 2 or len(holders) * len(receivers) > CELLS:
        return None
    holders, receivers = sorted(holders, key=document.natural), sorted(receivers, key=document.natural)
    return Matrix(holders, receivers, {(pair["holder"], pair["receiver"]): pair for pair in cluster["pairs"]})


def numbers(pairs: list[Pair]) -> dict[Key, int]:
    """By which a pair is linked to within the page."""
    return {key_of(pair): number for number, pair in enumerate(pairs)}


def _median(trials: list[Trial], key: str) -> float | None:
    return median_of(trial[key] for trial in trials)  # type: ignore[literal-required]
