# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""A small byte-pair tokenizer.  Its vocabulary (data/vocabulary.json) was learnt from this project's own texts by
`python -m lab.rehearsal vocabulary FILE ... > lab/rehearsal/data/vocabulary.json`.

Ids: three special tokens, the 256 bytes, then the learnt pieces in the order they were learnt.
"""

from __future__ import annotations

import collections
import itertools
import json
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

SPECIAL = ["<s>", "</s>", "<pad>"]
BYTES_AT = len(SPECIAL)
_PIECES = re.compile(r" ?[^\W\d_]+| ?\d+| ?[^\s\w]+|_+|\s+(?!\S)|\s+")


class Tokenizer:
    """Text to ids and back.  ``size`` cuts the vocabulary, as a model with fewer tokens has it."""

    def __init__(self, learnt: list[str], size: int | None = None):
        pieces = [bytes([value]) for value in range(256)] + [piece.encode() for piece in learnt]
        if size is not None:
            pieces = pieces[: max(256, size - BYTES_AT)]
        self._piece = {index + BYTES_AT: piece for index, piece in enumerate(pieces)}
        self._id = {piece: index for index, piece in self._piece.items()}
        self._encode_word = lru_cache(maxsize=50_000)(self._merge)
        self.size = BYTES_AT + len(pieces)

    def encode(self, text: str) -> list[int]:
        return [token for word in _PIECES.findall(text) for token in self._encode_word(word)]

    def decode(self, ids: Iterable[int]) -> str:
        return b"".join(map(self.piece, ids)).decode("utf-8", "replace")

    def piece(self, token: int) -> bytes:
        """A token's bytes; nothing for special and unknown ones."""
        return self._piece.get(token, b"")

    def words(self) -> list[int]:
        """Tokens that are a whole word with a space before it."""
        return [token for token, piece in self._piece.items() if re.fullmatch(rb" [A-Za-z]{3,}", piece)]

    def _merge(self, word: str) -> tuple[int, ...]:
        parts = [bytes([value]) for value in word.encode()]
        while len(parts) > 1:
            ranks = [self._id.get(a + b, 1 << 30) for a, b in itertools.pairwise(parts)]
            best = min(ranks)
            if best == 1 << 30:
                break
            at = ranks.index(best)
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        return tuple(self._id[part] for part in parts)


def learn(texts: Iterable[str], pieces: int) -> list[str]:
    """The byte-pair pieces of ASCII texts, the most frequent pair first."""
    counts = collections.Counter(word for text in texts for word in _PIECES.findall(text) if word.isascii())
    words = {tuple(word): count for word, count in counts.items()}
    learnt: list[str] = []
    while len(learnt) < pieces:
        pairs: collections.Counter = collections.Counter()
        for word, count in words.items():
            for pair in itertools.pairwise(word):
                pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        learnt.append("".join(best))
        words = {_joined(word, best): count for word, count in words.items()}
    return learnt


def _joined(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    found: list[str] = []
    for part in word:
        if found and (found[-1], part) == pair:
            found[-1] += part
        else:
            found.append(part)
    return tuple(found)


@lru_cache(maxsize=4)
def standard(size: int | None = None) -> Tokenizer:
    """The tokenizer every rehearsal engine uses."""
    path = Path(__file__).parent / "data" / "vocabulary.json"
    return Tokenizer(json.loads(path.read_text(encoding="utf-8")), size)
