# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may leave a node: text without its secrets, and values of the plain kinds.

Everything that is not listed by name (settings, commands) is dropped where it is read, so that a secret can reach
neither the evidence nor a report; what is listed passes through here.
"""

from __future__ import annotations

import re
from collections.abc import Container

from .numbers import is_plausible

MAX_TEXT = 512  # characters of a value
MAX_LINE = 300  # of a log line
MOST_SCANNED = 4096  # of a text that is searched for secrets: what takes the square of its length stays short

_TOKEN = re.compile(r"\S+")
_QUERY = re.compile(r"(://[^\s?#'\"]*)[?#][^\s'\",)]*")
_BARE_CREDENTIALS = re.compile(r"(?<![^\s/@'\"=])[^\s/@'\"=:]*:[^\s/@'\"]*@")
_NAMES = (
    r"api[_-]?key|token|secret(?:[_-]?\w+)?|passw(?:or)?d|passphrase|authorization|credentials?"
    r"|(?:access|private|account|secret)[_-]?key|(?<![A-Za-z])(?:pwd|pass)"
)
_SECRET_WORDS = re.compile(
    rf"(?i)((?:{_NAMES})['\"]?\s*[:=]\s*|(?<!\S)-{{1,2}}(?:[\w-]{{0,32}}-)?(?:{_NAMES})\s+|bearer\s+)(?!bearer)"
    r"['\"]?(?:(?:basic|digest|token)\s+)?\S+"
)
# "token" is a word of every log here, so what follows it without a sign in between must look like one
_TOKEN_VALUE = re.compile(r"(?i)(\btoken\s+)(?=[^\s\d]{0,200}\d)[\w./+=~-]{16,}")
_BEFORE_SECRET = re.compile(r"[:=\s]")  # one of these follows each of the words: ids and names have none
_SECRET_SHAPES = re.compile(
    r"\b(?:(?:hf_|sk-|gh[pousr]_|github_pat_|glpat-|xox.-)[A-Za-z0-9_-]{8,}|AKIA[0-9A-Z]{16}\b|eyJ[\w-]{10,2000}\.[\w.-]+)"
)


def bounded(text: str, most: int = MOST_SCANNED) -> str:
    """The first words of a text, at most so many characters: a word that is cut could be half a secret."""
    if len(text) <= most:
        return text
    words = text[: most + 1].rpartition(" ")[0]
    return words or f"(one word of {len(text)} characters)"


def without_credentials(text: object) -> str:
    """`text` with the user part and the query of every URL in it removed, at most MOST_SCANNED characters.

    Everything up to the last `@` of a URL goes: a password may itself contain `/` or `@`.
    """
    text = bounded(str(text))
    if "://" in text:
        text = _QUERY.sub(r"\1", _TOKEN.sub(_without_user, text) if "@" in text else text)
    return _BARE_CREDENTIALS.sub("", text) if "@" in text else text


def _without_user(token):
    scheme, mark, rest = token.group().partition("://")
    return scheme + mark + rest.rpartition("@")[2]


def without_secrets(text: object) -> str:
    """`text` without what a URL, a telling word or its shape gives away, at most MOST_SCANNED characters."""
    text = without_credentials(text)
    if _BEFORE_SECRET.search(text):
        text = _TOKEN_VALUE.sub(r"\1***", _SECRET_WORDS.sub(r"\1***", text))
    return _SECRET_SHAPES.sub("***", text)


def redact_line(line: str) -> str:
    """A raw log line without secrets, at most 300 characters."""
    return without_secrets(bounded(line, 2000))[:MAX_LINE]


def plain(value: object) -> object:
    """`value` as evidence may carry it: a scalar or a flat list of scalars, strings redacted and cut.

    Anything else (nested objects, not-a-number, infinity, numbers that nobody can mean) becomes None.
    """
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value[:64] if not isinstance(item, (list, tuple, dict))]
    if isinstance(value, bool) or is_plausible(value):
        return value
    if isinstance(value, str):
        return without_credentials(value)[:MAX_TEXT]
    return None


def pick(mapping: object, names: Container[str]) -> dict:
    """The items of `mapping` whose key is in `names`, values made `plain`."""
    if not isinstance(mapping, dict):
        return {}
    return {key: plain(value) for key, value in mapping.items() if key in names}
