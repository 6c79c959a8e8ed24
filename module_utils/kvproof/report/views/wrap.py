# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of a width, in columns of a terminal, that break between values and not within one.

A value is a number with its unit, an interval, a setting with what it is set to, or a waiver that is to be copied.
"""

from __future__ import annotations

import re
import unicodedata

_VALUE = re.compile(
    r"(?:\w+: )?\S*\[\{.*?\}\]\S*"  # kv_reuse_waive: [{finding: …, reason: …}]
    r"|95 % ?(?:interval|:) [\d.]+ to \S+"
    r"|\S*\d (?:to|of) \d\S*(?: tokens?)?"
    r"|\S*\d (?:%|ms|s|min|h|GB/s|MB|KB|GB|tokens?|chunks?)(?:[^\w\s]*(?=\s|$)|(?=[^\x00-\x7f])\S*)"
    r"|[a-z][a-z0-9]*(?:_[a-z0-9]+)+:? \S+"  # chunk_size 256
    r"|\S+"
)


def columns(text: str) -> int:
    """How wide a terminal shows the text."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def padded(text: str, width: int) -> str:
    """The text and blanks, so many columns wide, and with one blank at least."""
    return text + " " * max(1, width - columns(text))


def wrapped(text: str, width: int, used: int = 0, indent: str = "") -> list[str]:
    """The text's lines, all but the first with the indent.  used: columns of the first that are taken already.

    A value that fits no line breaks between its words, and a word that fits none is left whole, so that it can be
    copied; a text without blanks, as Japanese is written, breaks anywhere.
    """
    lines, line, room = [], "", width - used
    for part in _parts(text, max(1, width - columns(indent))):
        gap = "" if not line or not part[0] else " "
        if line and columns(line) + len(gap) + columns(part[1]) > room:
            lines.append(line)
            line, gap, room = "", "", width - columns(indent)
        elif not line and not lines and used and columns(part[1]) > room:
            lines.append("")
            room = width - columns(indent)
        line += gap + part[1]
    first, *rest = [*lines, line]
    return [first, *(indent + more for more in rest)]


def _parts(text: str, room: int) -> list[tuple[bool, str]]:
    """(whether a blank goes before it, part) of all that is kept on one line."""
    parts: list[tuple[bool, str]] = []
    for value in _VALUE.findall(text):
        words = [value] if columns(value) <= room else value.split(" ")
        for word in words:
            wide = columns(word) > room and not word.isascii()
            parts += [(not at, char) for at, char in enumerate(word)] if wide else [(True, word)]
    return parts
