# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of each pair from one run to another: before and after a roll-out or a migration.  No I/O, no Ansible."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypedDict

from ..plan.pair import Key, key_of
from . import document
from .changes import BEARABLE, ORDER, Gist, change, gist_of, setting_line, ttft_line
from .parts import ChangeOfPair, Verdict


class Change(ChangeOfPair):
    """One pair.  ``before`` and ``after``: one line each, null where that run has no verdict of it."""

    architecture: tuple[str | None, str | None]


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
    pairs: list[dict[Key, Gist]] = [
        {key_of(pair): gist_of(pair) for pair in document.all_pairs(run)} for run in (before, after)
    ]
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


def _change(before: Gist | None, after: Gist | None) -> Change:
    architecture = tuple(gist.get("architecture") if gist else None for gist in (before, after))
    return {**change(before, after), "architecture": architecture}  # type: ignore[typeddict-item]


def _told(change: Change) -> Iterator[str]:
    slower = {kind: times for kind, times in change["ttft"].items() if times["beyond"]}
    if change["what"] == "as before" and not slower:
        return
    yield f"{change['what']}: {change['cluster']}: {change['holder']} → {change['receiver']}"
    if change["what"] != "as before":
        yield f"  before: {change['before'] or 'not judged'}"
        yield f"  after:  {change['after'] or 'not judged'}"
        if change["before"] and change["after"]:
            yield from (f"  {setting_line(row)}" for row in change["settings"])
    yield from (f"  {ttft_line(kind, times)}" for kind, times in slower.items())
