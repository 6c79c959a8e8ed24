# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes text from engines, logs and hosts harmless: an answer must not move the cursor or turn a line around."""

from __future__ import annotations

import re
from typing import Any

LIMIT = 600  # characters of any one text
LONGEST = 20 * LIMIT  # of one that is looked at: most of it may be invisible
PLAIN = str.maketrans(
    {"✓": "+", "✗": "X", "–": "-", "→": ">", "·": "*", "…": "...", "\u201c": '"', "\u201d": '"', "═": "=", "─": "-"}
)
_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


def line(text: str, limit: int = LIMIT) -> str:
    """One printable line: no terminal sequences, white space as single blanks, other invisible characters escaped."""
    return short(_escaped(" ".join(_TERMINAL.sub("", text[:LONGEST]).split())), limit)


def harmless(value: Any) -> Any:
    """A copy of a task's result that Ansible may display: its strings in their lines and of their length, but without
    terminal sequences, and with invisible characters escaped."""
    if isinstance(value, str):
        if value.isprintable():
            return value
        return "\n".join(_escaped(part) for part in _TERMINAL.sub("", value).split("\n"))
    if isinstance(value, dict):
        return {harmless(key): harmless(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [harmless(item) for item in value]
    return value


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def short(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def cleaned(value: Any, ascii_only: bool = False) -> Any:
    """A copy of a document with every string of it made one harmless line, of ASCII where it has to be."""
    if isinstance(value, str):
        return plain(line(value)) if ascii_only else line(value)
    if isinstance(value, dict):
        return {cleaned(str(key), ascii_only): cleaned(item, ascii_only) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [cleaned(item, ascii_only) for item in value]
    return value


def plain(text: str) -> str:
    """The text for a terminal that has ASCII only."""
    return text.translate(PLAIN).encode("ascii", "backslashreplace").decode()
