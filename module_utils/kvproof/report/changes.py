# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of a pair from one verdict of it to a later one.  No I/O, no Ansible."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import NotRequired

from ..judge.interval import interval
from ..judge.verdict import FAIL, PASS
from ..plan.pair import PairNames, names_of
from . import document
from .language import say, told
from .parts import ChangedSetting, ChangeOfPair, Kind, Pair, Times, What, Word

#: Worst first; those before BEARABLE make the later run the worse one.
ORDER: tuple[What, ...] = ("newly broken", "no longer proven", "no longer judged", "fixed", "new", "as before")
BEARABLE = ORDER.index("fixed")
KINDS: tuple[Kind, ...] = ("reused", "recomputed")
LEAST = 3  # times on either side before anything is said of them


class Gist(PairNames):
    """What of a pair's verdict is compared with another one."""

    architecture: NotRequired[str]
    verdict: Word
    waived: bool
    headline: str
    ttft_s: dict[Kind, list[float]]
    settings: dict[str, list[str | None]]  # of the holder and of the receiver


def gist_of(pair: Pair) -> Gist:
    gist: Gist = {
        **names_of(pair),
        "verdict": pair["verdict"],
        "waived": pair["waived"],
        "headline": document.headline(pair),
        "ttft_s": {kind: _times_of(pair, kind) for kind in KINDS},
        "settings": {row["setting"]: [row["holder"], row["receiver"]] for row in pair.get("settings", [])},
    }
    if "architecture" in pair:
        gist["architecture"] = pair["architecture"]
    return gist


def _times_of(pair: Pair, kind: Kind) -> list[float]:
    times = (trial[f"{kind}_ttft_s"] for trial in pair["trials"])  # type: ignore[literal-required]
    return [time for time in times if time is not None]


def change(before: Gist | None, after: Gist | None) -> ChangeOfPair:
    """Of one pair, of which at least one run has a verdict."""
    gist = after or before
    assert gist is not None
    return {
        **names_of(gist),
        "what": _what(before, after),
        "before": before["headline"] if before else None,
        "after": after["headline"] if after else None,
        "settings": list(_settings(before, after)) if before and after else [],
        "ttft": _ttft(before, after) if before and after else {},
    }


def _what(before: Gist | None, after: Gist | None) -> What:
    if after is None:
        return "no longer judged"
    if before is None:
        return "new"
    was, now = (gist["verdict"] == PASS or gist["waived"] for gist in (before, after))
    if was and not now:
        return "newly broken" if after["verdict"] == FAIL else "no longer proven"
    return "fixed" if now and not was else "as before"


def _settings(before: Gist, after: Gist) -> Iterator[ChangedSetting]:
    unseen: list[str | None] = [None, None]
    for name in dict.fromkeys([*before["settings"], *after["settings"]]):
        values = zip(before["settings"].get(name, unseen), after["settings"].get(name, unseen))
        for node, (was, now) in zip(("holder", "receiver"), values):
            if was != now:
                yield {"setting": name, "node": node, "before": was, "after": now}  # type: ignore[typeddict-item]


def _ttft(before: Gist, after: Gist) -> dict[Kind, Times]:
    found: dict[Kind, Times] = {}
    for kind in KINDS:
        was, now = (gist["ttft_s"].get(kind, []) for gist in (before, after))
        if len(was) >= LEAST and len(now) >= LEAST:
            beyond = min(now) > max(was) or max(now) < min(was)
            found[kind] = {"before": median(was), "after": median(now), "beyond": beyond}
    return found


def drift(before: Gist, after: Gist) -> dict[Kind, Times]:
    """Kinds of TTFT that cannot well be the same: every value of one run lies beyond every value of the other, and the
    medians' intervals have nothing in common.

    The first alone is so by chance once in ten times with three trials; both, once in a hundred.
    """
    beyond = {kind: times for kind, times in _ttft(before, after).items() if times["beyond"]}
    return {kind: times for kind, times in beyond.items() if _apart(kind, before, after)}


def _apart(kind: Kind, before: Gist, after: Gist) -> bool:
    one, other = (interval(gist["ttft_s"][kind]) for gist in (before, after))
    return bool(one and other and (one["low"] > other["high"] or one["high"] < other["low"]))


def setting_line(row: ChangedSetting) -> str:
    return say(
        "{setting} of the holder: {before} before, {after} after"
        if row["node"] == "holder"
        else "{setting} of the receiver: {before} before, {after} after",
        setting=row["setting"],
        before=row["before"] or "?",
        after=row["after"] or "?",
    )


def ttft_line(kind: Kind, times: Times) -> str:
    """Of times that lie apart."""
    return say(
        "TTFT {kind}: {before:.0f} ms before, {after:.0f} ms after, slower in every trial"
        if times["after"] > times["before"]
        else "TTFT {kind}: {before:.0f} ms before, {after:.0f} ms after, faster in every trial",
        kind=told(kind),
        before=times["before"] * 1000,
        after=times["after"] * 1000,
    )
