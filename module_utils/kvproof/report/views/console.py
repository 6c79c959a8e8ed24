# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report for a terminal or a job's log: chains, clusters, findings, and the verdict as the last thing read.

A line is a list of (text, style); styles are "good", "bad", "doubt", "faint" and None.  The caller paints them.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...judge.verdict import FAIL, INCONCLUSIVE, PASS
from .. import document
from ..language import say
from ..parts import Console, Pair, Verdict
from ..translated import translated
from . import changes, figures, remarks
from .clean import cleaned
from .wrap import columns, padded, wrapped

Line = list[tuple[str, str | None]]
MARKS = {"holds": "✓", "holds (inferred)": "✓", "broken": "✗", "unknown": "?", "not needed": "–"}
STYLES = {"✓": "good", "✗": "bad", "?": "doubt", "–": "faint"}
VERDICT_STYLES = {PASS: "good", FAIL: "bad", INCONCLUSIVE: "doubt", None: "bad"}
WIDTH = 100


def lines(
    doc: Verdict,
    places: Sequence[str] = (),
    width: int = WIDTH,
    *,
    how: Console = "full",
    closer: str | None = None,
    ascii_only: bool = False,
) -> list[Line]:
    """The report.  places: sentences about where the reports are.  closer: the command that shows more of a failure.

    Of a fleet, pairs that pass are in the counts of their clusters alone.  how: "short" leaves out chains, figures and
    remarks, and all pairs that pass.
    ascii_only: foreign text as wide as it will be; the caller puts the marks into plain().
    """
    doc = translated(cleaned(doc, ascii_only))
    full, brief = document.chosen(doc) if how == "full" else ([], document.all_pairs(doc))
    rows: list[Line] = [_rule("═", width, " KV reuse ")]
    for pair in brief:
        if pair["verdict"] != PASS:
            rows += _pair_line(pair, width)
    for pair in full:
        rows += [[], *_pair_line(pair, width), *_chain(pair, width), *_figures(pair, width)]
    rows += [[], *_clusters(doc, width), *_changes(doc, width)]
    rows += _findings(document.groups(doc), width)
    if how == "full":
        rows += _remarks(doc, width)
    rows += _end(doc, places, width, closer)
    return rows


def _rule(mark: str, width: int, title: str = "") -> Line:
    return [((mark * 2 + title).ljust(width, mark), "faint")]


def _pair_line(pair: Pair, width: int) -> list[Line]:
    name = f"{pair['cluster']}: {document.pair_name(pair)}  "
    word = _word(pair["verdict"], say(" (waived)") if pair["waived"] else "")
    return _after_word(name, word, f"{document.where(pair)}: {document.reason(pair)}", width)


def _after_word(head: str, word: tuple[str, str], text: str, width: int) -> list[Line]:
    """A head, a verdict and a text that goes on below, indented, when it is long."""
    told = text.lstrip()
    gap = " " * (len(text) - len(told))
    first, *rest = wrapped(told, width, columns(head + word[0] + gap), " " * 5)
    return [[(head, None), word, (gap + first, None)], *unstyled(rest)]


def unstyled(texts: list[str]) -> list[Line]:
    return [[(text, None)] for text in texts]


def _word(verdict: str | None, after: str = "") -> tuple[str, str]:
    return document.WORDS[verdict] + after, VERDICT_STYLES[verdict]


def _chain(pair: Pair, width: int) -> list[Line]:
    rows = []
    for link in pair["links"]:
        mark = MARKS[link["state"]]
        inferred = say("(inferred) ") if link["state"] == "holds (inferred)" else ""
        head = f" {link['link']:2d} {padded(link['name'], 18)}"
        text = _wrapped(inferred + link["text"], width, 4 + columns(head))
        style = STYLES[mark] if mark in ("✗", "–") else None
        rows.append([("   ", None), (mark, STYLES[mark]), (head, None), (text[0], style)])
        rows += [[(more, style)] for more in text[1:]]
    return rows


def _figures(pair: Pair, width: int) -> list[Line]:
    return [row for label, text in figures.lines(pair) for row in _row(label, text, width, indent=3, column=23)]


def _row(label: str, text: str, width: int, indent: int = 6, column: int = 11) -> list[Line]:
    """A label and its text, which hangs below itself when it is long."""
    text_lines = _wrapped(text, width, indent + column)
    first: Line = [(" " * indent + padded(label, column), "faint"), (text_lines[0], None)]
    return [first, *unstyled(text_lines[1:])]


def _wrapped(text: str, width: int, indent: int) -> list[str]:
    """The lines of a text; all but the first begin with the indent."""
    return wrapped(text, max(40 + indent, width), indent, " " * indent)


def _clusters(doc: Verdict, width: int) -> list[Line]:
    rows = []
    shown, passing = document.chosen_clusters(doc)
    for cluster in [passing, *shown] if passing else shown:
        text = f"  {document.cluster_line(cluster)}"
        name = say("{name} clusters" if cluster is passing else "cluster {name}", name=cluster["name"])
        rows += _after_word(f"{name}  ", _word(cluster["verdict"]), text, width)
        for pair in cluster["not_judged"]:
            lost = say("{pair} not judged: {reason}", pair=document.pair_name(pair), reason=pair["reason"])
            rows += _marked("?", lost, width)
    return rows


def _changes(doc: Verdict, width: int) -> list[Line]:
    """What changed since the kept runs."""
    since, (told, more) = changes.sentence(doc), changes.told(doc, changes.IN_CONSOLE)
    if not since:
        return []
    rows: list[Line] = [[], *unstyled(wrapped(since, width))]
    for change in told:
        rows += _marked(change.sign, change.text, width)
        rows += [line for text in change.details for line in _row("", text, width, indent=0, column=6)]
    return rows + (_marked("·", more, width) if more else [])


def _marked(mark: str, text: str, width: int) -> list[Line]:
    text_lines = _wrapped(text, width, 3)
    return [[(f" {mark} ", STYLES.get(mark)), (text_lines[0], None)], *unstyled(text_lines[1:])]


def _findings(groups: list[document.Group], width: int) -> list[Line]:
    rows: list[Line] = []
    for group in groups:
        if group.kind == "note":
            continue
        mark = "!" if group.kind == "warning" else "?" if group.entry["role"] == "validity" else "✗"
        entry = group.entry
        head = f"{entry['slug']}  {entry['title']}"
        rows += [[], [(f" {mark} ", STYLES.get(mark, "doubt")), (head, STYLES.get(mark, "doubt"))]]
        for place in group.places[: document.PLACES]:
            rows += _place(group, place, width)
        if group.more:
            rows += _row(say("and"), group.more, width)
        if group.remedy:
            rows += _row(say("do"), group.remedy, width)
        if entry["waived"]:
            rows += _row(say("waived"), entry["waived"], width)
        elif group.kind == "decisive":
            rows += _row(say("waive with"), entry["waiver"], width)
        rows += _row(say("more"), entry["doc"], width)
    return rows


def _place(group: document.Group, place: document.Place, width: int) -> list[Line]:
    rows = [
        (say("on"), document.several(place.hosts)),
        (say("expected"), place.expected),
        (say("observed"), place.observed),
        (say("why"), place.reason),
    ]
    if not group.remedy:
        rows.append((say("do"), place.remedy))
    return [row for label, text in rows for row in _row(label, text, width)]


def _remarks(doc: Verdict, width: int) -> list[Line]:
    texts = remarks.lines(doc)
    if not texts:
        return []
    return [[], [(say("To know"), "faint")], *(line for text in texts for line in _marked("·", text, width))]


def _end(doc: Verdict, places: Sequence[str], width: int, closer: str | None) -> list[Line]:
    rows = [[], _rule("═", width)]
    for text in doc["problems"]:
        rows += _marked("✗", text, width)
    verdict = doc["verdict"]
    judged = document.all_pairs(doc)
    missing = sum(len(cluster["not_judged"]) for cluster in doc["clusters"])
    passed = sum(1 for pair in judged if pair["verdict"] == PASS)
    total = len(judged) + missing
    count = say("{passed} of {total} pairs passed", passed=passed, total=total) if total else say("no pair was judged")
    reasons = [g for g in document.groups(doc) if g.kind == "decisive" and not g.entry["waived"]]
    first = [_in_short(group) for group in reasons[:1]]
    more = [say("{count} more above", count=len(reasons) - 1)] if len(reasons) > 1 else []
    rows += _after_word("", _word(verdict), "  " + "; ".join([count, *first, *more]), width)
    for text in places:
        rows += _row(say("reports"), text, width, indent=0)
    if closer and doc["run_fails"]:
        rows.append([(padded(say("look closer"), 13), "faint"), (closer, None)])  # to be copied, so it is never broken
    if doc["exit_code"] is not None:
        meaning = document.exit_meaning(doc)
        rows += _row(say("exit code {code}", code=doc["exit_code"]), meaning, width, indent=0, column=13)
    return rows


def _in_short(group: document.Group) -> str:
    hosts = document.several(group.hosts, 3)
    return say("{finding} on {hosts}: {title}", finding=group.entry["slug"], hosts=hosts, title=group.entry["title"])
