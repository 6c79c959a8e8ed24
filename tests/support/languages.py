# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds English sentences where another language is spoken."""

from __future__ import annotations

import re
from collections.abc import Iterator

# what engines, logs and commands say is quoted as it is
_QUOTED = re.compile(r"`[^`]*`|“[^”]*”|'[^']*'|\[\{.*?\}\]|\{[^}]*\}")
_WORDS = re.compile(r"(?<![\w/.-])[a-z][a-z']+(?: [a-z][a-z']+){2,}")


def english(text: str) -> str | None:
    """Three English words in a row."""
    found = _WORDS.search(_QUOTED.sub("", text))
    return found[0] if found else None


def sentences(pair: dict) -> Iterator[str]:
    """All that a verdict says in words."""
    for link in pair["links"]:
        yield from (link["name"], link["text"])
    for finding in pair["findings"]:
        yield from (finding[key] for key in ("title", "expected", "observed", "reason", "remedy"))
    yield pair["output"]["text"]
    yield from (length["skipped"] or "" for length in pair["timing"]["lengths"])
    yield (pair["timing"]["break_even"] or {}).get("text") or ""
    yield pair.get("router", {}).get("text") or ""
