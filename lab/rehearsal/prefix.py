# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""vLLM's own prefix cache: KV of whole blocks, found by the tokens before them and the request's salt."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence


class PrefixCache:
    """Least recently used blocks go first.  ``block_size`` in tokens, ``capacity`` in blocks."""

    def __init__(self, enabled: bool, block_size: int, capacity: int):
        self.enabled, self.block_size, self._capacity = enabled, block_size, capacity
        self._blocks: OrderedDict[int, array] = OrderedDict()

    def _hashes(self, tokens: Sequence[int], salt: str | None) -> Iterator[tuple[int, int]]:
        previous = hash(("kv", salt))
        for start in range(0, len(tokens) - self.block_size + 1, self.block_size):
            previous = hash((previous, tuple(tokens[start : start + self.block_size])))
            yield start, previous

    def match(self, tokens: Sequence[int], salt: str | None) -> array:
        """KV of the longest prefix that is cached; the last token is always left to compute."""
        found = array("Q")
        if not self.enabled:
            return found
        for start, number in self._hashes(tokens, salt):
            if number not in self._blocks or start + self.block_size >= len(tokens):
                break
            self._blocks.move_to_end(number)
            found.extend(self._blocks[number])
        return found

    def put(self, tokens: Sequence[int], kv: array, salt: str | None) -> None:
        if not self.enabled:
            return
        for start, number in self._hashes(tokens, salt):
            self._blocks[number] = kv[start : start + self.block_size]
            self._blocks.move_to_end(number)
        while len(self._blocks) > self._capacity:
            self._blocks.popitem(last=False)
