# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""Where a rank of LMCache keeps chunks: its pool of CPU memory, a local disk, a store shared with others."""

from __future__ import annotations

import hashlib
import tempfile
from array import array
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

Announce = Callable[[str, int], None]


@dataclass(frozen=True)
class Key:
    """A chunk's key.  The controller knows it by its hash alone; a store by everything."""

    model: str
    world_size: int
    rank: int
    hash: int
    dtype: str
    tags: tuple[tuple[str, str], ...] = ()

    @property
    def text(self) -> str:
        """As keys go over the wire."""
        parts = [self.model, str(self.world_size), str(self.rank), f"{self.hash & (1 << 64) - 1:x}", self.dtype]
        return "@".join(parts + [f"{name}%{value}" for name, value in self.tags])


class Pool:
    """LocalCPUBackend: least recently used chunks go first, pinned ones never.

    ``announce(operation, hash)`` tells the controller, ``keeps`` is false with ``local_cpu: false``: chunks then
    pass through and nothing stays.
    """

    def __init__(self, capacity: int, keeps: bool, announce: Announce):
        self.capacity, self.keeps, self._announce = capacity, keeps, announce
        self._chunks: OrderedDict[str, tuple[int, array]] = OrderedDict()
        self._pins: Counter[str] = Counter()
        self._visiting = 0  # chunks on their way through, which need room, too
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._chunks)

    def hashes(self) -> Iterable[int]:
        return [number for number, _chunk in self._chunks.values()]

    @property
    def is_full(self) -> bool:
        return len(self._chunks) + self._visiting >= self.capacity

    def reserve(self) -> bool:
        """Makes room for one chunk; False when everything is pinned or on its way."""
        while self.is_full:
            if not self.drop():
                return False
        self._visiting += 1
        return True

    def drop(self) -> bool:
        """Lets the chunk go that was not used for longest; False when everything is pinned."""
        victim = next((text for text in self._chunks if not self._pins[text]), None)
        if victim is None:
            return False
        number, _chunk = self._chunks.pop(victim)
        self.evicted += 1
        self._announce("evict", number)
        return True

    def release(self, chunks: int) -> None:
        """Gives back room that was reserved."""
        self._visiting -= chunks

    def put(self, key: Key, chunk: array) -> None:
        """Keeps a chunk for which room was reserved."""
        self.release(1)
        if self.keeps and key.text not in self._chunks:
            self._chunks[key.text] = (key.hash, chunk)
            self._announce("admit", key.hash)

    def contains(self, texts: list[str]) -> int:
        """How many of these keys, from the first, are here."""
        for index, text in enumerate(texts):
            if text not in self._chunks:
                return index
        return len(texts)

    def get(self, text: str) -> array:
        """A chunk that is here, now the most recently used."""
        self._chunks.move_to_end(text)
        return self._chunks[text][1]

    def pin(self, texts: Iterable[str]) -> None:
        self._pins.update(texts)

    def unpin(self, texts: Iterable[str]) -> None:
        self._pins.subtract(texts)


class SharedStore:
    """RemoteBackend: a store behind remote_url, here a folder that every engine with this URL shares."""

    def __init__(self, url: str, folder: str | None):
        if url.startswith(("file://", "fs://")):
            path = Path("/" + url.split("://", 1)[1].partition("/")[2])
        else:
            name = hashlib.sha256(url.encode()).hexdigest()[:12]
            path = Path(folder or tempfile.gettempdir()) / f"rehearsal-remote-{name}"
        self._folder = path
        path.mkdir(parents=True, exist_ok=True)

    def _file(self, text: str) -> Path:
        return self._folder / (hashlib.sha256(text.encode()).hexdigest() + ".kv")

    def put(self, key: Key, chunk: array) -> None:
        path = self._file(key.text)
        partial = path.with_suffix(".part")
        partial.write_bytes(chunk.tobytes())
        partial.rename(path)

    def contains(self, texts: list[str]) -> int:
        for index, text in enumerate(texts):
            if not self._file(text).exists():
                return index
        return len(texts)

    def get(self, text: str) -> array:
        return array("Q", self._file(text).read_bytes())


class DiskStore:
    """LocalDiskBackend: its index is in memory, so nobody else sees what it holds."""

    def __init__(self, capacity: int):
        self._capacity = capacity
        self._chunks: OrderedDict[str, array] = OrderedDict()

    def put(self, key: Key, chunk: array) -> None:
        self._chunks[key.text] = chunk
        while len(self._chunks) > self._capacity:
            self._chunks.popitem(last=False)

    def contains(self, texts: list[str]) -> int:
        for index, text in enumerate(texts):
            if text not in self._chunks:
                return index
        return len(texts)

    def get(self, text: str) -> array:
        return self._chunks[text]
