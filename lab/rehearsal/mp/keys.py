# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""How a cache server names a chunk: a hash of all tokens up to its end, the model, the rank and the request's salt."""

from __future__ import annotations

import hashlib
import random
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..hashing import MASK, ChunkHasher
from ..log import Log

SEEDLESS = "blake3"  # needs no PYTHONHASHSEED; its place is taken by blake2b, which the standard library has


@dataclass(frozen=True)
class Key:
    """One chunk of one rank."""

    chunk_hash: str  # 64 hexadecimal digits
    model: str
    kv_rank: int
    salt: str

    @property
    def text(self) -> str:
        """As keys go over the wire, and as the pool knows them."""
        return "@".join((self.model, f"{self.kv_rank:x}", self.chunk_hash, self.salt))

    @property
    def hash(self) -> Key:
        """What the pool announces of a chunk."""
        return self

    @property
    def encoded(self) -> dict[str, Any]:
        """As the coordinator shows it."""
        return {"chunk_hash_hex": self.chunk_hash, "model_name": self.model, "kv_rank": self.kv_rank,
                "object_group_id": 0, "cache_salt": self.salt}  # fmt: skip

    @classmethod
    def of(cls, text: str) -> Key:
        model, rank, chunk_hash, salt = text.rsplit("@", 3)
        return cls(chunk_hash, model, int(rank, 16), salt)


def kv_rank(world_size: int, rank: int) -> int:
    """World size and rank in one number, twice: of all and of this node."""
    return world_size << 24 | rank << 16 | world_size << 8 | rank


class TokenHasher:
    """Hashes of a prompt's whole chunks.  An algorithm that nobody knows becomes Python's builtin hash."""

    def __init__(self, algorithm: str, chunk_size: int, env: Mapping[str, str], log: Log):
        self.algorithm, self.chunk_size = algorithm, chunk_size
        self._chunks: ChunkHasher | None = None
        if algorithm == SEEDLESS:
            none_hash: Any = self._hash(b"", (0,))
            log.say("mp_hash_blake3")
        else:
            self._chunks = ChunkHasher(algorithm, chunk_size, env, lambda: random.getrandbits(64))
            none_hash = self._chunks.none_hash
            log.say("mp_hash_loaded" if self._chunks.supported else "mp_hash_fallback", algorithm=algorithm)
        log.say("mp_hasher", none_hash=none_hash, chunk_size=chunk_size, algorithm=algorithm)

    @staticmethod
    def _hash(before: bytes, tokens: Sequence[int]) -> bytes:
        return hashlib.blake2b(before + struct.pack(f">{len(tokens)}I", *tokens), digest_size=32).digest()

    def hashes(self, tokens: Sequence[int]) -> list[str]:
        """One for each whole chunk, from the first."""
        if self._chunks:
            return [hashlib.sha256(f"{number & MASK}".encode()).hexdigest()
                    for _end, number in self._chunks.chunks(tokens)]  # fmt: skip
        found, last = [], self._hash(b"", (0,))
        for start in range(0, len(tokens) - self.chunk_size + 1, self.chunk_size):
            last = self._hash(last, tokens[start : start + self.chunk_size])
            found.append(last.hex())
        return found

    def keys(self, tokens: Sequence[int], model: str, world_size: int, salt: str) -> list[list[Key]]:
        """For each whole chunk, the keys of all ranks."""
        ranks = [kv_rank(world_size, rank) for rank in range(world_size)]
        return [[Key(one, model, rank, salt) for rank in ranks] for one in self.hashes(tokens)]
