# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What changed since the kept runs, in words that console, summary.md and index.html share."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

from ...plan.pair import Key, key_of
from .. import document
from ..changes import ORDER, setting_line, ttft_line
from ..language import mark, say
from ..parts import Changed, Past, Verdict, What

IN_CONSOLE, IN_SUMMARY, ON_PAGE = 6, 30, 100  # changes that are told; of more, their number
SETTINGS = 4  # of one change
SIGNS: dict[What, str] = {
    "newly broken": "✗",
    "no longer proven": "?",
    "no longer judged": "?",
    "fixed": "✓",
    "as before": "·",
}
_COUNTED: dict[What, str] = {
    "newly broken": mark("{count} newly broken"),
    "no longer proven": mark("{count} no longer proven"),
    "no longer judged": mark("{count} no longer judged"),
    "fixed": mark("{count} fixed"),
    "new": mark("{count} never judged before"),
    "as before": mark("{count} with other times to the first token"),
}
_TOLD: dict[What, str] = {
    "newly broken": mark("{pair} is newly broken: it was {was} on {since}"),
    "no longer proven": mark("{pair} is no longer proven: it was {was} on {since}"),
    "no longer judged": mark("{pair} is no longer judged: it was {was} on {since}"),
    "fixed": mark("{pair} is fixed: it was {was} on {since}"),
    "as before": mark("{pair} has other times to the first token than on {since}"),
}
_NOTHING_YET = mark("No kept run judged any of these pairs before, so there is nothing to compare with yet.")
_SAME = {
    False: mark("Nothing changed since the last run, of {last}."),
    True: mark("Nothing changed since the last runs, of {first} to {last}."),
}
_DIFFERENT = {
    False: mark("Since the last run, of {last}: {counts}."),
    True: mark("Since the last runs, of {first} to {last}: {counts}."),
}
_MORE = mark("{count} more pairs changed; verdict.json has them all")


@dataclass(frozen=True)
class Told:
    """A change in words.  tone: of a verdict, by which it is painted."""

    sign: str
    tone: str
    text: str
    details: list[str]
    key: Key


def sentence(doc: Verdict) -> str | None:
    """What changed, counted; None where no runs are kept."""
    history = doc.get("history")
    if not history:
        return None
    first, last = history["first"], history["last"]
    if not first or not last:
        return say(_NOTHING_YET)
    ends = {"first": when(first), "last": when(last)}
    counted = Counter(changed["what"] for changed in history["changes"])
    counts = ", ".join(say(_COUNTED[what], count=counted[what]) for what in ORDER if counted[what])
    return say((_DIFFERENT if counts else _SAME)[first != last], **ends, counts=counts)


def told(doc: Verdict, most: int) -> tuple[list[Told], str | None]:
    """The changes, worst first, and a sentence about those that are too many.  New pairs are counted alone."""
    history = doc.get("history")
    changes = [changed for changed in history["changes"] if changed["what"] in _TOLD] if history else []
    more = say(_MORE, count=len(changes) - most) if len(changes) > most else None
    return [_told(changed) for changed in changes[:most]], more


def _told(changed: Changed) -> Told:
    words = {"pair": f"{changed['cluster']}: {document.pair_name(changed)}", "was": document.WORDS[changed["was"]]}
    settings = [setting_line(row) for row in changed["settings"][:SETTINGS]]
    text = say(_TOLD[changed["what"]], **words, since=when(changed["since"]))
    times = [ttft_line(kind, times) for kind, times in changed["ttft"].items()]
    tone = "none" if changed["what"] == "as before" else changed["now"] or "inconclusive"
    return Told(SIGNS[changed["what"]], tone, text, times + settings, key_of(changed))


def pasts(doc: Verdict) -> dict[Key, Past]:
    """The earlier runs of the pairs that have some."""
    history = doc.get("history")
    return {key_of(past): past for past in history["pairs"]} if history else {}


def when(time: str | None) -> str:
    """A time for a reader, to the minute."""
    try:
        return datetime.fromisoformat(time or "").astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError):  # none, or one at the end of time
        return time or "?"
