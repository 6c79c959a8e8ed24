# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""Chunk hashes and the NONE_HASH they start from, as LMCache 0.5.6 computes them on Python 3.11.

The builtin algorithm is Python's own hash of (previous hash, tokens, ()).  That does not depend on the hash
seed, but NONE_HASH does: it is the hash of the text of PYTHONHASHSEED.  Python's string hash is computed here,
so that one process can host nodes with different seeds.
"""

from __future__ import annotations

import hashlib
import pickle
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import cbor2

MASK = (1 << 64) - 1
#: what vLLM hashes in place of the seed where none is set and the algorithm is collision resistant
NO_SEED = "vllm-none-hash"


def _sha256(value: Any) -> bytes:
    return hashlib.sha256(pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)).digest()


def _sha256_cbor(value: Any) -> bytes:
    return hashlib.sha256(cbor2.dumps(value, canonical=True)).digest()


#: vLLM's own; any other name falls back to Python's builtin hash
ALGORITHMS: dict[str, Callable[[Any], bytes]] = {"sha256": _sha256, "sha256_cbor": _sha256_cbor}


def string_hash(text: str, seed: int) -> int:
    """Python 3.11's hash(text) in a process with PYTHONHASHSEED=seed (SipHash-1-3)."""
    k0, k1 = _seed_keys(seed)
    data = text.encode("latin-1")
    state = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]
    whole = len(data) - len(data) % 8
    words = list(struct.unpack(f"<{whole // 8}Q", data[:whole]))
    words.append(int.from_bytes(data[whole:], "little") | (len(data) & 0xFF) << 56)
    for word in words:
        state[3] ^= word
        _sip_round(state)
        state[0] ^= word
    state[2] ^= 0xFF
    for _ in range(3):
        _sip_round(state)
    value = state[0] ^ state[1] ^ state[2] ^ state[3]
    value = value - (1 << 64) if value >> 63 else value
    return -2 if value == -1 else value


def _seed_keys(seed: int) -> tuple[int, int]:
    """Python's secret for a seed; seed 0 switches randomisation off."""
    if not seed:
        return 0, 0
    state, secret = seed, bytearray()
    for _ in range(16):
        state = (state * 214013 + 2531011) & 0xFFFFFFFF
        secret.append((state >> 16) & 0xFF)
    return struct.unpack("<2Q", bytes(secret))


def _rotated(value: int, bits: int) -> int:
    return (value << bits | value >> (64 - bits)) & MASK


def _sip_round(v: list[int]) -> None:
    v[0] = (v[0] + v[1]) & MASK
    v[2] = (v[2] + v[3]) & MASK
    v[1] = _rotated(v[1], 13) ^ v[0]
    v[3] = _rotated(v[3], 16) ^ v[2]
    v[0] = _rotated(v[0], 32)
    v[2] = (v[2] + v[1]) & MASK
    v[0] = (v[0] + v[3]) & MASK
    v[1] = _rotated(v[1], 17) ^ v[2]
    v[3] = _rotated(v[3], 21) ^ v[0]
    v[2] = _rotated(v[2], 32)


class ChunkHasher:
    """Hashes of the whole chunks of a prompt.  ``random`` gives the 64 bits an unset seed leaves to chance."""

    def __init__(self, algorithm: str, chunk_size: int, env: Mapping[str, str], random: Callable[[], int]):
        self.algorithm, self.chunk_size = algorithm, chunk_size
        self.supported = algorithm in ALGORITHMS
        self._hash = ALGORITHMS.get(algorithm)
        seed = env.get("PYTHONHASHSEED")
        self.seeded = seed is not None
        if self._hash:
            self.none_hash = self._folded(self._hash(seed if seed is not None else NO_SEED))
        elif seed is None or seed == "random":
            self.none_hash = random() - (1 << 63)
        else:
            self.none_hash = string_hash(seed, int(seed))

    @staticmethod
    def _folded(digest: bytes) -> int:
        return int.from_bytes(digest[:8], "big")

    def chunks(self, tokens: Sequence[int], partial: bool = False) -> Iterator[tuple[int, int]]:
        """(end, hash) of every chunk from the first; ``partial``: also of the last one that is not full."""
        previous = self.none_hash
        end = len(tokens) if partial else len(tokens) - len(tokens) % self.chunk_size
        for start in range(0, end, self.chunk_size):
            value = (previous, tuple(tokens[start : start + self.chunk_size]), ())
            previous = self._folded(self._hash(value)) if self._hash else hash(value)
            yield min(start + self.chunk_size, len(tokens)), previous
