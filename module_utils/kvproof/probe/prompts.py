# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prompts that nobody has seen before, whose right continuation only their prefix tells.

A prompt is ``opening | nonce | random words ...`` (the prefix, common to seed and reuse) and an ending that
quotes a few of those words and leaves the next to the model.  Seed and reuse quote different places.  A model
copies what follows the quotation in the prefix, so KV that is damaged or of another prompt costs much.

As token ids, prompts are put together from pieces the server tokenised once: what counts is the ids sent.
As text (no tokenizer at hand) every count is a bound: a word has at least one token and at most ``MOST_TOKENS``.
"""

from __future__ import annotations

import random
import secrets
from dataclasses import dataclass, field
from typing import Any

from ..transport.http import HttpClient, RequestFailed

WORDS = """
    apple river stone lamp cloud maple tiger window garden silver paper bridge candle forest mirror ocean pepper
    rabbit saddle temple basket button copper dragon engine feather ginger hammer island jacket kettle ladder marble
    needle orange pencil quartz ribbon shadow timber velvet walnut yellow zebra anchor barrel castle desert falcon
    harbor insect jungle lemon monkey napkin oyster pillow rocket spider tunnel violin whistle butter canyon
""".split()
OPENING = "Words:"  # short: the nonce behind it has to differ within the first block of 16 tokens
ENDING = "\nThe same words again, from a place in the middle:"
SEPARATOR = " |"
NONCE_WORDS = 16  # of 64: 96 bits
QUOTED_WORDS = 6
ANSWER_WORDS = 16
FEWEST_PLACES = 8  # to choose from, so that two that begin differently are among them
SLACK_TOKENS = 10  # the common prefix reaches this far beyond its last full chunk
MOST_TOKENS = 4  # of one text word


@dataclass
class Material:
    """Tokenised pieces: ``words`` and ``opening``/``ending`` as ids; ``spelled`` None where a piece is no word."""

    source: str  # tokenize | transformers | text
    opening: list[int] = field(default_factory=list)
    words: list[list[int]] = field(default_factory=list)
    ending: list[int] = field(default_factory=list)
    spelled: bool = True


@dataclass
class PromptPair:
    """Seed and reuse prompt of one trial.  Counts are of tokens; with text they are lower bounds."""

    seed: list[int] | str
    reuse: list[int] | str
    prefix_tokens: int
    tokens: int
    most_tokens: int
    seed_tokens: int
    expected_text: str | None  # how the reuse prompt goes on in its own prefix
    ending: list[int] | str  # of the reuse prompt, after the common prefix that was built


def material_text() -> tuple[str, int]:
    """The text to tokenise once, and the number of pieces in it, each followed by the separator."""
    pieces = [OPENING, *(f" {word}" for word in WORDS), ENDING]
    return "".join(piece + SEPARATOR for piece in pieces), len(pieces)


def material_from_ids(ids: list[int], pieces: int, source: str) -> Material:
    """Cuts tokenised material at its separators; where a tokenizer hides them, even slices serve as words."""
    cut: list[list[int]] = [[]]
    for token in ids[:-1]:
        if token == ids[-1]:
            cut.append([])
        else:
            cut[-1].append(token)
    if len(cut) == pieces and all(cut):
        return Material(source, cut[0], cut[1:-1], cut[-1])
    step = max(1, len(ids) // pieces)
    sliced = [ids[at : at + step] for at in range(0, len(ids) - step + 1, step)]
    return Material(source, sliced[0], sliced[1:-1], sliced[-1], spelled=False)


def _is_id(token: object) -> bool:
    return isinstance(token, int) and not isinstance(token, bool)


def tokenize_with_server(http: HttpClient, model: str) -> Material:
    """Material by POST /tokenize (vLLM), special tokens of the model included.  Raises RequestFailed."""
    text, pieces = material_text()
    answer = http.post_json("/tokenize", {"model": model, "prompt": text})
    ids = answer.get("tokens") if isinstance(answer, dict) else None
    if not isinstance(ids, list) or len(ids) < pieces or not all(map(_is_id, ids)):
        raise RequestFailed("json", f"{http.base}/tokenize gave no token ids")
    material = material_from_ids(ids, pieces, "tokenize")
    if len({tuple(word) for word in material.words}) < len(WORDS) // 2:
        raise RequestFailed("json", f"{http.base}/tokenize gives the same ids for different words")
    return material


def tokenize_with_transformers(path: str) -> Material:
    """Material by a local tokenizer.  Raises ImportError, or OSError/ValueError where the path holds none."""
    from transformers import AutoTokenizer

    text, pieces = material_text()
    ids = AutoTokenizer.from_pretrained(path, local_files_only=True)(text)["input_ids"]
    return material_from_ids(list(ids), pieces, "transformers")


def build(material: Material, prefix_tokens: int) -> PromptPair:
    """A fresh pair whose common prefix has at least ``prefix_tokens`` tokens.  Random by the system's source."""
    chance = random.Random(secrets.randbits(256))
    nonce = [secrets.randbelow(len(_words(material))) for _unused in range(NONCE_WORDS)]
    if material.source == "text":
        return _build_text(nonce, prefix_tokens, chance)
    return _build_ids(material, nonce, prefix_tokens, chance)


def with_other_prefix(pair: PromptPair, other: PromptPair) -> list[int] | str:
    """The prefix of ``other`` with the ending of ``pair``: a control that differs from the reuse in nothing else."""
    return other.reuse[: len(other.reuse) - len(other.ending)] + pair.ending  # type: ignore[operator]


def expected_hit(prefix_tokens: int, chunk_size: int) -> int:
    """Tokens LMCache can reuse of a common prefix: whole chunks only."""
    return prefix_tokens // chunk_size * chunk_size


def common_prefix(ids: list[int], other: list[int]) -> int:
    """Length of the common prefix of two lists of ids."""
    for index, (a, b) in enumerate(zip(ids, other)):
        if a != b:
            return index
    return min(len(ids), len(other))


def _words(material: Material) -> list[Any]:
    return WORDS if material.source == "text" else material.words


def _build_ids(material: Material, nonce: list[int], prefix_tokens: int, chance: random.Random) -> PromptPair:
    prefix, body = list(material.opening), list(nonce)
    for index in nonce:
        prefix += material.words[index]
    while len(prefix) < prefix_tokens:
        body.append(chance.randrange(len(material.words)))
        prefix += material.words[body[-1]]
    prefix = prefix[:prefix_tokens] if len(body) > NONCE_WORDS else prefix
    ends, answer = [], None
    for place in _places(body, chance):
        quoted = body[place : place + QUOTED_WORDS]
        ends.append(material.ending + [token for index in quoted for token in material.words[index]])
        if material.spelled:
            answer = _answer(body, place)
    seed, reuse = prefix + ends[0], prefix + ends[1]
    return PromptPair(seed, reuse, common_prefix(seed, reuse), len(reuse), len(reuse), len(seed), answer, ends[1])


def _build_text(nonce: list[int], prefix_tokens: int, chance: random.Random) -> PromptPair:
    body = list(nonce)
    while len(body) < prefix_tokens:
        body.append(chance.randrange(len(WORDS)))
    prefix = " ".join([OPENING, *(WORDS[index] for index in body)])
    first, second = _places(body, chance)
    ends = [
        " ".join([ENDING, *(WORDS[index] for index in body[place : place + QUOTED_WORDS])]) for place in (first, second)
    ]
    least = len(body) + QUOTED_WORDS
    return PromptPair(
        prefix + ends[0],
        prefix + ends[1],
        len(body),
        least,
        MOST_TOKENS * (least + len((OPENING + ENDING).split())),
        least,
        _answer(body, second),
        ends[1],
    )


def _places(body: list[int], chance: random.Random) -> tuple[int, int]:
    """Where seed and reuse quote from: two places whose quotations begin differently, an answer behind each
    unless the prompt is very short."""
    last = len(body) - QUOTED_WORDS - ANSWER_WORDS
    last = last if last > FEWEST_PLACES else len(body) - QUOTED_WORDS
    first = chance.randrange(last)
    others = [place for place in range(last) if body[place] != body[first]]
    return first, chance.choice(others)


def _answer(body: list[int], place: int) -> str:
    start = place + QUOTED_WORDS
    return " ".join(WORDS[index] for index in body[start : start + ANSWER_WORDS])
