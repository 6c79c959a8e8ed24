# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The language that the views speak: English, or a translation of what stands in English in the code.

A document is written in English, whatever language its run was shown in: verdict.json, junit.xml and kv_reuse.prom are
for programs.  So a view has two kinds of text: its own sentences, said by ``say()``, and those that it finds in the
document.  The latter had gaps when they were written (``{receiver} was asked``), and are known again by what stands
around the gaps.  A sentence that the catalogue does not know stays English.

A catalogue is a gettext file of this folder, one for each language; docs/build.py keeps it in step with the code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal, get_args

Language = Literal["en", "ja"]
LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)
ENGLISH: Final[Language] = "en"

#: What stands between the parts of a sentence, the widest first, and after one.
AND: Final = " and "
BETWEEN: Final = ("; ", ": ", ", ", AND)
REMARK: Final = " ({remark})"
_REMARK = re.compile(r"(.*?) \((.*)\)", re.DOTALL)
WRITTEN: Final = "document"  # the context of messages that stand in documents

_GAP = re.compile(r"{(\w*)}")
LITTLE = 6  # letters of a message below which its gaps are values with digits: "{low} to {high}" fits too much
LONGEST = 2000  # characters of a sentence that is looked for
_spoken: ContextVar[Language] = ContextVar("language", default=ENGLISH)


def mark(text: str) -> str:
    """The text itself, which is said elsewhere."""
    return text


def say(text: str, /, **values: object) -> str:
    """A view's own sentence in the language spoken, with its gaps filled."""
    known = text if _spoken.get() == ENGLISH else catalogue(_spoken.get()).said.get(text, text)
    return known.format(**values) if values else known


def told(text: str) -> str:
    """A sentence of the document in the language spoken."""
    return text if _spoken.get() == ENGLISH else catalogue(_spoken.get()).sentence(text)


def spoken() -> Language:
    return _spoken.get()


@contextmanager
def speaking(language: Language) -> Iterator[None]:
    """Within, ``say()`` and ``told()`` speak this language."""
    before = _spoken.set(language)
    try:
        yield
    finally:
        _spoken.reset(before)


def unspeakable(language: Language) -> str | None:
    """Why this language cannot be spoken here, in a sentence; None where it can."""
    if language == ENGLISH or find_spec("babel"):
        return None
    return (
        f"kv_reuse_lang is {language}, which wants the package Babel where ansible-playbook runs: pip install babel; "
        "the reports are in English"
    )


class Catalogue:
    """The messages of one language: what views say, and what is written in documents, known by its gaps."""

    def __init__(self, said: dict[str, str], written: dict[str, str]):
        self.said, self.written = said, written
        gapped = [message for message in written if _GAP.search(message) and message != REMARK]
        gapped.sort(key=lambda message: -len(_GAP.sub("", message)))
        self._patterns = [
            (_longest_piece(message), _pattern(message), _places(message, written[message])) for message in gapped
        ]
        self.sentence = cache(self._sentence)

    def _sentence(self, text: str) -> str:
        if text in self.written or len(text) > LONGEST:
            return self.written.get(text, text)
        return self._by_gaps(text, within=True) or self._in_parts(text) or self._by_gaps(text, within=False) or text

    def _by_gaps(self, text: str, within: bool) -> str | None:
        """within: no gap holds more than one part of a sentence."""
        for piece, pattern, translation in self._patterns:
            if piece in text and (filled := pattern.fullmatch(text)):
                *others, last = filled.groups()
                if within and ("; " in last or any("; " in value or ": " in value for value in others)):
                    continue
                return "".join(
                    part if isinstance(part, str) else self.sentence(filled[part + 1]) for part in translation
                )
        return None

    def _is_known(self, part: str) -> bool:
        return part in self.written or bool(self._by_gaps(part, within=True))

    def _in_parts(self, text: str) -> str | None:
        """The text put together again of parts that are known, where one is."""
        for separator in BETWEEN:
            first, found, rest = text.partition(separator)
            if not found:
                continue
            if self._is_known(separator + rest):
                return self.sentence(first) + self.sentence(separator + rest)
            if self._is_known(first + separator):
                return self.sentence(first + separator) + self.sentence(rest)
            parts = self.sentence(first), self.sentence(rest)
            if parts != (first, rest) or (separator == AND and " " not in first + rest):
                return self.written.get(separator, separator).join(parts)
        if remark := _REMARK.fullmatch(text):
            head, told = self.sentence(remark[1]), self.sentence(remark[2])
            if (head, told) != (remark[1], remark[2]):
                return head + self.written.get(REMARK, REMARK).replace("{remark}", told)
        return None


def _longest_piece(message: str) -> str:
    return max(_GAP.split(message)[::2], key=len)


def _pattern(message: str) -> re.Pattern[str]:
    pieces = _GAP.split(message)
    letters = sum(len(re.sub(r"[^A-Za-z]", "", piece)) for piece in pieces[::2])
    gap = r"(?:\S*\d\S*?)?" if letters < LITTLE else r".*?"  # empty where a remark was left out
    parts = [f"({gap})" if at % 2 else re.escape(piece) for at, piece in enumerate(pieces)]
    for at in range(3, len(pieces), 2):
        if not pieces[at - 1]:
            parts[at] = "()"  # two gaps that touch are one: where the one ends costs the cube of the length
    if pieces[-1] == "" and pieces[-3].endswith(": "):
        parts[-2] = "(.*)"  # what follows a colon goes to the end
    return re.compile("".join(parts), re.DOTALL)


def _places(message: str, translation: str) -> list[str | int]:
    """A translation's text and, for each of its gaps, which of the message's it is."""
    names, parts = _GAP.findall(message), _GAP.split(translation)
    nameless = iter(range(len(names)))
    return [part if not at % 2 else names.index(part) if part else next(nameless) for at, part in enumerate(parts)]


@cache
def catalogue(language: Language) -> Catalogue:
    """The catalogue of a language other than English."""
    from babel.messages.pofile import read_po

    with open(Path(__file__).parent / f"{language}.po", "rb") as file:
        read = read_po(file, locale=language)
    said: dict[str, str] = {}
    written: dict[str, str] = {}
    for message in read:
        if message.id and message.string:
            (written if message.context == WRITTEN else said)[str(message.id)] = str(message.string)
    return Catalogue(said, written)
