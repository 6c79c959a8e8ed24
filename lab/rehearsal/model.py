# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""A stand-in for a language model whose answers depend on the KV it reads, and on nothing else.

A token's KV is 8 bytes: a key of 32 bits that depends on the weights and on every token before it, and a value
of 32 bits, the token as these weights see it.  The model copies: where the last words of the context stood before,
it goes on as the context did.  It can only copy from KV whose keys fit its values, and every probability is
shifted by a digest of all KV.  So zeroed keys, a foreign chunk or other weights change probabilities and text,
and KV that arrived unharmed changes nothing.
"""

from __future__ import annotations

import hashlib
import math
import random
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .tokenizer import Tokenizer

KV_BYTES = 8  # of one token, in this model
CANDIDATES = 24  # tokens that share the probability; as many log-probabilities can be asked for
COPY_NATS = 3.2  # by how much the token that continues a copy is likelier than the next best
LEAN_NATS = 0.45  # how far the digest of all KV shifts a candidate, at most
SLOPE_NATS = 0.35  # from one candidate to the next
LONGEST_QUOTE = 8
REST = 0.02  # of the probability, for all other tokens


@dataclass(frozen=True)
class Choice:
    """One step: the token taken, and (token, log-probability) of the most likely ones, the best first."""

    token: int
    logprob: float
    top: list[tuple[int, float]]


class Model:
    """Weights are known by a name; models with the same name compute the same KV."""

    def __init__(self, weights: str, tokenizer: Tokenizer):
        digest = hashlib.sha256(weights.encode()).digest()
        self._factor = int.from_bytes(digest[:4], "little") | 1
        self._offset = int.from_bytes(digest[4:8], "little")
        self._mask = int.from_bytes(digest[8:12], "little")
        self._name = digest[:16]
        self._tokenizer = tokenizer
        self._words = tokenizer.words()

    def compute(self, tokens: Iterable[int], before: array) -> array:
        """KV of ``tokens``, which follow a context whose KV is ``before``."""
        key = before[-1] >> 32 if before else self._offset
        found = array("Q")
        for token in tokens:
            key = self._next_key(key, token)
            found.append(key << 32 | token ^ self._mask)
        return found

    def _next_key(self, key: int, token: int) -> int:
        key = (key * self._factor + token * 2654435761 + self._offset) & 0xFFFFFFFF
        return key ^ key >> 15

    def read(self, kv: array) -> Context:
        """The context as the model sees it in this KV."""
        return Context(self, kv)

    def readable(self, kv: Sequence[int]) -> list[int | None]:
        """Tokens read from KV; None where key and value do not belong together."""
        key, found = self._offset, []
        for entry in kv:
            token = (entry & 0xFFFFFFFF) ^ self._mask
            expected = self._next_key(key, token)
            key = entry >> 32
            found.append(token if key == expected else None)
        return found

    def candidates(self, last: Sequence[int]) -> list[int]:
        """The tokens that may follow, by what these weights make of the last two tokens."""
        chance = random.Random(self._name + repr(tuple(last[-2:])).encode())
        return chance.sample(self._words, CANDIDATES)


class Context:
    """KV that grows by one token a step."""

    def __init__(self, model: Model, kv: array):
        self._model, self._kv = model, array("Q", kv)
        self._digest = hashlib.blake2b(self._kv.tobytes(), digest_size=16)
        self._tokens = model.readable(self._kv)
        self._places: dict[tuple[int | None, int | None], list[int]] = {}
        for at in range(2, len(self._tokens)):
            self._places.setdefault((self._tokens[at - 2], self._tokens[at - 1]), []).append(at)

    @property
    def kv(self) -> array:
        return self._kv

    def append(self, token: int) -> None:
        """Computes the KV of one more token."""
        new = self._model.compute([token], self._kv)
        self._kv.extend(new)
        self._digest.update(new.tobytes())
        self._tokens.append(token)
        if len(self._tokens) > 2:
            pair = (self._tokens[-3], self._tokens[-2])
            self._places.setdefault(pair, []).append(len(self._tokens) - 1)

    def step(self, noise: random.Random | None = None, noise_nats: float = 0.0,
             temperature: float = 0.0, chance: random.Random | None = None) -> Choice:  # fmt: skip
        """The next token; greedy at temperature 0."""
        last = [token if token is not None else -1 for token in self._tokens[-2:]]
        tokens = self._model.candidates(last)
        lean = random.Random(self._digest.digest())
        scores = {token: -SLOPE_NATS * rank + lean.uniform(-LEAN_NATS, LEAN_NATS)
                  for rank, token in enumerate(tokens)}  # fmt: skip
        copied = self._continuation()
        if copied is not None:
            scores[copied] = COPY_NATS + lean.uniform(-LEAN_NATS, LEAN_NATS)
        total = math.log(sum(math.exp(score) for score in scores.values())) - math.log(1 - REST)
        logprobs = {token: score - total for token, score in scores.items()}
        if noise and noise_nats:
            logprobs = {token: min(0.0, value + noise.gauss(0, noise_nats)) for token, value in logprobs.items()}
        top = sorted(logprobs.items(), key=lambda item: (-item[1], item[0]))
        token = top[0][0]
        if temperature > 0 and chance:
            weights = [math.exp(value / temperature) for _token, value in top]
            token = chance.choices([one for one, _value in top], weights)[0]
        return Choice(token, logprobs[token], top)

    def _continuation(self) -> int | None:
        """What followed the longest earlier occurrence of the context's end; None where there is none."""
        tokens, end = self._tokens, len(self._tokens)
        if end < 3 or None in tokens[-2:]:
            return None
        best, longest = None, 0
        for at in reversed(self._places.get((tokens[-2], tokens[-1]), [])):
            if at >= end or tokens[at] is None:
                continue
            length = 2
            while length < LONGEST_QUOTE and at - length > 0 and tokens[at - 1 - length] == tokens[end - 1 - length]:
                length += 1
            if length > longest:
                best, longest = tokens[at], length
            if longest >= LONGEST_QUOTE:
                break
        return best
