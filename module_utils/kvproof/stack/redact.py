# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may leave a node: text without its secrets, and values of the plain kinds.

Everything that is not listed by name (settings, commands) is dropped where it is read, so that a secret can reach
neither the evidence nor a report; what is listed passes through here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container

MAX_TEXT = 512  # characters of a value

_CREDENTIALS = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*://)\S*@")
_QUERY = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*://[^\s?#'\"]*)[?#][^\s'\",)]*")
_BARE_CREDENTIALS = re.compile(r"[^\s/@'\"=]+:[^\s/@'\"]*@")
_SECRET_WORDS = re.compile(
    r"(?i)((?:api[_-]?key|token|secret|passw(?:or)?d|authorization)['\"]?\s*[:=]\s*|bearer\s+)(?!bearer)['\"]?\S+"
)
_BEFORE_SECRET = re.compile(r"[:=\s]")  # one of these follows each of the words: ids and names have none
_SECRET_SHAPES = re.compile(r"\b(?:hf_|sk-|ghp_|xox.-)[A-Za-z0-9_-]{8,}")


def without_credentials(text: object) -> str:
    """`text` with the user part and the query of every URL in it removed.

    Everything up to the last `@` of a URL goes: a password may itself contain `/` or `@`.
    """
    text = str(text)
    if "://" in text:
        text = _QUERY.sub(r"\1", _CREDENTIALS.sub(r"\1", text))
    return _BARE_CREDENTIALS.sub("", text) if "@" in text else text


def without_secrets(text: object) -> str:
    """`text` without what a URL, a telling word or its shape gives away."""
    text = without_credentials(text)
    if _BEFORE_SECRET.search(text):
        text = _SECRET_WORDS.sub(r"\1***", text)
    return _SECRET_SHAPES.sub("***", text)


def redact_line(line: str) -> str:
    """A raw log line without secrets, at most 300 characters."""
    return without_secrets(line[:2000])[:300]


def plain(value: object) -> object:
    """`value` as evidence may carry it: a scalar or a flat list of scalars, strings redacted and cut.

    Anything else (nested objects, not-a-number, infinity) becomes None.
    """
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value if not isinstance(item, (list, tuple, dict))][:64]
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return without_credentials(value)[:MAX_TEXT]
    return None


def pick(mapping: object, names: Container[str]) -> dict:
    """The items of `mapping` whose key is in `names`, values made `plain`."""
    if not isinstance(mapping, dict):
        return {}
    return {key: plain(value) for key, value in mapping.items() if key in names}
