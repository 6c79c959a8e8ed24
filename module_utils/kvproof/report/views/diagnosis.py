# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A diagnosis of pasted material for a terminal, in the lines of console.py, and as a page of Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...diagnose.classes import CLASSES
from .clean import cleaned
from .console import WIDTH, Line, unstyled
from .pages import markdown
from .wrap import wrapped

_NOTHING = "nothing was recognised in it"


def lines(doc: dict[str, Any], places: Sequence[str] = (), width: int = WIDTH, ascii_only: bool = False) -> list[Line]:
    """The whole diagnosis.  places: sentences about where it was written."""
    doc = cleaned(doc, ascii_only)
    rows: list[Line] = [[("══ KV reuse, from pasted material ".ljust(width, "═"), "faint")]]
    for title, texts in (("read", read(doc)), ("trouble", doc["problems"]), ("seen", doc["seen"])):
        rows += [row for text in texts for row in _row(title, text, width, 0)]
    for cause in doc["causes"]:
        rows += [[], [(" ✗ ", "bad"), (f"{cause['class']}  ", "bad"), (f"{cause['slug']}: {cause['title']}", None)]]
        rows += [row for label, text in sections(cause) for row in _row(label, text, width, 6)]
    if doc["possible"]:
        rows += [[], [("Possible, not concluded", None)]]
    for cause in doc["possible"]:
        rows += [[(" ? ", "doubt"), (f"{cause['class']}  ", "doubt"), (f"{cause['slug']}: {cause['title']}", None)]]
        rows += [row for label, text in sections(cause) for row in _row(label, text, width, 6)]
    if doc["collect"]:
        rows += [[], [("To collect next", None)]]
        rows += [row for text in doc["collect"] for row in _row(" –", text, width, 0, 3)]
    rows += [[], [("═" * width, "faint")], _end(doc)]
    return rows + [row for place in places for row in _row("written", place, width, 0)]


def headline(doc: dict[str, Any]) -> str:
    """The conclusion in one sentence."""
    if not doc["causes"]:
        return "INCONCLUSIVE: what was given allows no conclusion on the cause"
    first, *more = doc["causes"]
    others = [cause["class"] for cause in more if cause["class"] != first["class"]]
    besides = f"; besides: {', '.join(dict.fromkeys(others))}" if others else ""
    return f"CAUSE {first['class']}: {first['title']}{besides}"


def page(doc: dict[str, Any]) -> str:
    """diagnosis.md."""
    doc = cleaned(doc)
    parts = ["# Diagnosis of pasted material", markdown(headline(doc)) + "."]
    parts.append("\n".join(f"- {markdown(text)}" for text in [*read(doc), *doc["problems"], *doc["seen"]]))
    for heading, key in (("Causes", "causes"), ("Possible, not concluded", "possible")):
        for number, cause in enumerate(doc[key]):
            parts += [f"## {heading}"] * (number == 0)
            parts.append(f"### {cause['class']}: {markdown(cause['title'])}")
            parts.append("\n".join(f"- **{label}**: {markdown(text)}" for label, text in sections(cause)))
    if doc["collect"]:
        parts += ["## To collect next", "\n".join(f"- {markdown(text)}" for text in doc["collect"])]
    return "\n\n".join(part for part in parts if part) + "\n"


def read(doc: dict[str, Any]) -> list[str]:
    """What was given, a sentence for each node."""
    sentences = []
    for node in doc["read"]:
        parts = [f"{node['lines']} lines"] * bool(node["lines"])
        parts += [f"{node['log_events']} known log lines"] * bool(node["log_events"])
        parts += [f"{node['settings']} settings"] * bool(node["settings"])
        parts += ["the configuration in force"] * node["effective_configuration"]
        parts += ["a metrics page"] * node["metrics"]
        sentences.append(f"{node['on']}: {', '.join(parts) or _NOTHING}")
    return sentences


def sections(cause: dict[str, Any]) -> list[tuple[str, str]]:
    """(label, text) of a cause."""
    return [
        *(("seen", f"{seen['text']} [{seen['on']}]") for seen in cause["seen"]),
        ("class", CLASSES[cause["class"]]),
        ("proves", cause["proves"]),
        ("but not", cause["cannot"]),
        ("do", cause["remedy"]),
        ("source", cause["source"]),
        ("more", cause["doc"]),
    ]


def _end(doc: dict[str, Any]) -> Line:
    word, _between, rest = headline(doc).partition(" ")
    return [(f"{word} ", "bad" if doc["causes"] else "doubt"), (rest, None)]


def _row(label: str, text: str, width: int, indent: int, column: int = 9) -> list[Line]:
    hanging = " " * (indent + column)
    first, *rest = wrapped(text, max(40 + len(hanging), width), len(hanging), hanging)
    row: Line = [(" " * indent + label.ljust(column), "faint"), (first, None)]
    return [row, *unstyled(rest)]
