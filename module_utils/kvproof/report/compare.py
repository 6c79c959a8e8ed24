# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of each pair from one run to another: before and after a roll-out or a migration.  No I/O, no Ansible."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Literal, TypedDict

from ..judge.verdict import FAIL, PASS
from ..plan.pair import Key, key_of
from . import document
from .parts import Pair, Verdict

What = Literal["newly broken", "no longer proven", "no longer judged", "fixed", "new", "as before"]
#: Worst first; those before BEARABLE make the second run the worse one.
ORDER: tuple[What, ...] = ("newly broken", "no longer proven", "no longer judged", "fixed", "new", "as before")
BEARABLE = ORDER.index("fixed")
LEAST = 3  # times on either side before anything is said of them


class Times(TypedDict):
    """Medians of a kind of TTFT in seconds.  ``beyond``: every value of one run lies above every value of the other."""

    before: float
    after: float
    beyond: bool


class ChangedSetting(TypedDict):
    setting: str
    node: Literal["holder", "receiver"]
    before: str | None
    after: str | None


class Change(TypedDict):
    """One pair.  ``before`` and ``after``: one line each, null where that run has no verdict of it."""

    cluster: str
    holder: str
    receiver: str
    what: What
    before: str | None
    after: str | None
    architecture: tuple[str | None, str | None]
    settings: list[ChangedSetting]
    ttft: dict[str, Times]


class Comparison(TypedDict):
    """``kvproof.comparison/1``."""

    schema: Literal["kvproof.comparison/1"]
    before: str
    after: str
    worse: bool
    counts: dict[str, int]
    changes: list[Change]
    problems: list[str]


def compare(before: Verdict, after: Verdict, names: tuple[str, str] = ("a", "b")) -> Comparison:
    """names: of the two runs, as messages have them."""
    problems = [f"{name}: its run had not ended" for name, run in zip(names, (before, after)) if not run["verdict"]]
    pairs: list[dict[Key, Pair]] = [{key_of(pair): pair for pair in document.all_pairs(run)} for run in (before, after)]
    keys = dict.fromkeys([*pairs[0], *pairs[1]])
    changes = [_change(pairs[0].get(key), pairs[1].get(key)) for key in keys]
    changes.sort(
        key=lambda change: (ORDER.index(change["what"]), document.natural(change["cluster"]), change["receiver"])
    )
    counts = {what: sum(change["what"] == what for change in changes) for what in ORDER}
    return {
        "schema": "kvproof.comparison/1",
        "before": names[0],
        "after": names[1],
        "worse": bool(problems) or not changes or any(counts[what] for what in ORDER[:BEARABLE]),
        "counts": {what: count for what, count in counts.items() if count},
        "changes": changes,
        "problems": problems or ([] if changes else ["neither run judged a pair"]),
    }


def lines(result: Comparison) -> list[str]:
    """For a terminal: what changed, worst first; pairs that are as before only where their times are not."""
    told = ", ".join(f"{count} {what}" for what, count in result["counts"].items()) or "no pair"
    words = "worse than" if result["worse"] else "no worse than"
    shown = [text for change in result["changes"] for text in _told(change)]
    return [f"{result['after']} is {words} {result['before']}: {told}", *result["problems"], *shown]


def markdown(result: Comparison) -> str:
    """The same as a page."""
    head, *rest = lines(result)
    return f"# {head}\n\n" + "".join(
        f"- {line}\n" if not line.startswith("  ") else f"  - {line.strip()}\n" for line in rest
    )


def _change(before: Pair | None, after: Pair | None) -> Change:
    pair = after or before
    if pair is None:
        raise AssertionError("neither run has the pair")
    return {
        "cluster": pair["cluster"],
        "holder": pair["holder"],
        "receiver": pair["receiver"],
        "what": _what(before, after),
        "before": document.headline(before) if before else None,
        "after": document.headline(after) if after else None,
        "architecture": (before.get("architecture") if before else None, after.get("architecture") if after else None),
        "settings": list(_settings(before, after)) if before and after else [],
        "ttft": _ttft(before, after) if before and after else {},
    }


def _what(before: Pair | None, after: Pair | None) -> What:
    if after is None:
        return "no longer judged"
    if before is None:
        return "new"
    was, now = (pair["verdict"] == PASS or pair["waived"] for pair in (before, after))
    if was and not now:
        return "newly broken" if after["verdict"] == FAIL else "no longer proven"
    return "fixed" if now and not was else "as before"


def _settings(before: Pair, after: Pair) -> Iterator[ChangedSetting]:
    rows = [{row["setting"]: row for row in pair.get("settings", [])} for pair in (before, after)]
    for name in dict.fromkeys([*rows[0], *rows[1]]):
        for node in ("holder", "receiver"):
            values = [row[name][node] if name in row else None for row in rows]
            if values[0] != values[1]:
                yield {"setting": name, "node": node, "before": values[0], "after": values[1]}


def _ttft(before: Pair, after: Pair) -> dict[str, Times]:
    found: dict[str, Times] = {}
    for kind in ("reused", "recomputed"):
        was, now = (
            [time for trial in pair["trials"] if (time := trial[f"{kind}_ttft_s"]) is not None]  # type: ignore[literal-required]
            for pair in (before, after)
        )
        if len(was) >= LEAST and len(now) >= LEAST:
            beyond = min(now) > max(was) or max(now) < min(was)
            found[kind] = {"before": median(was), "after": median(now), "beyond": beyond}
    return found


def _told(change: Change) -> Iterator[str]:
    slower = {kind: times for kind, times in change["ttft"].items() if times["beyond"]}
    if change["what"] == "as before" and not slower:
        return
    yield f"{change['what']}: {change['cluster']}: {change['holder']} → {change['receiver']}"
    if change["what"] != "as before":
        yield f"  before: {change['before'] or 'not judged'}"
        yield f"  after:  {change['after'] or 'not judged'}"
        if change["before"] and change["after"]:
            for row in change["settings"]:
                values = f"{row['before'] or '?'} before, {row['after'] or '?'} after"
                yield f"  {row['setting']} of the {row['node']}: {values}"
    for kind, times in slower.items():
        word = "slower" if times["after"] > times["before"] else "faster"
        values = f"{times['before'] * 1000:.0f} ms before, {times['after'] * 1000:.0f} ms after"
        yield f"  TTFT {kind}: {values}, {word} in every trial"
