# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is the reused output right?  Log-probabilities of a reuse against those of a recompute of the same prompt.

Text is a weak witness: in 24 probes with damaged KV it stayed equal in 18.  A healthy reuse need not be
bit-identical either: its suffix has another shape, and a 16-bit logit moves in steps (0.03 nats at a logit of 4 to
8, 0.125 at 16 to 32), so single tokens of healthy reuses were seen 0.03 and 0.1 nats apart.  Damage moves every
token.  So the mean over tokens counts, against three things: the noise of two recomputes, an absolute tolerance of
the dtype, and a share of what another prefix with the same ending does to this model.  On a trained model whose
answer stands in the prefix that share is far above any rounding.

What is not known makes both verdicts harder: without a dtype "equal" needs the fine tolerance and damage the coarse
one; without the noise a larger share counts; without the other prefix nothing is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

TOLERANCE = {"float32": 0.005, "bfloat16": 0.03, "float16": 0.03, "half": 0.03}
TOLERANCE_COARSE = 0.1  # fp8, int8
NOISE_FACTOR = 3.0  # "well above" the difference of two recomputes
SCALE_SHARE = 0.1  # of the difference that another prefix makes
SCALE_SHARE_ALONE = 0.15  # where the noise was not measured
WORDS_TELL = 3  # words in a row, each of 64 possible, are no chance


@dataclass(frozen=True)
class Comparison:
    """``difference``: mean |Δ log-probability| in nats; ``limit``: what counts as damage above it."""

    state: str  # "equal", "differs", "unclear", "unread"
    difference: float | None = None
    limit: float | None = None
    text_equal: bool | None = None


def tolerance(kv_dtype: str | None) -> tuple[float, float]:
    """Absolute tolerances in nats for a KV dtype such as "torch.bfloat16": to be equal, and to be damaged."""
    if kv_dtype is None:
        return TOLERANCE["bfloat16"], TOLERANCE_COARSE
    known = TOLERANCE.get(str(kv_dtype).rpartition(".")[2], TOLERANCE_COARSE)
    return known, known


def difference(one: list | None, other: list | None) -> float | None:
    """Mean |Δ log-probability| in nats over the tokens both generated, up to and with the first that differs.

    A token that only one of them lists among its most likely ones is at most as likely in the other as the last
    one listed there, so that much at least it is apart.  None: nothing to compare.
    """
    positions = []
    for a, b in zip(one or [], other or []):
        apart = _apart(_listed(a), _listed(b))
        if apart:
            positions.append(fmean(apart))
        if a.get("token") != b.get("token"):
            break
    return fmean(positions) if positions else None


def _listed(position: dict) -> dict[str, float]:
    """Token → log-probability of one position: the most likely ones and the one that was taken."""
    listed = {token: value for token, value in (position.get("top") or {}).items() if value is not None}
    if position.get("logprob") is not None and position.get("token") is not None:
        listed.setdefault(position["token"], position["logprob"])
    return listed


def _apart(left: dict[str, float], right: dict[str, float]) -> list[float]:
    if not left or not right:
        return []
    found = [abs(left[token] - right[token]) for token in left.keys() & right.keys()]
    for one, other in ((left, right), (right, left)):
        least = min(other.values())
        found += [max(0.0, value - least) for token, value in one.items() if token not in other]
    return found


def compare(
    reuse: dict | None, recompute: dict | None, floor: float | None, scale: float | None, kv_dtype: str | None
) -> Comparison:
    """Judge one reuse against a recompute.  floor and scale as difference() gives them, in nats, or None.

    Where another prefix makes no more difference than the limit, this model could not show damage at all.
    """
    if not reuse or not recompute or reuse.get("error") or recompute.get("error"):
        return Comparison("unread")
    text_equal = reuse.get("text") == recompute.get("text")
    seen = difference(reuse.get("logprobs"), recompute.get("logprobs"))
    if seen is None:
        return Comparison("unread", text_equal=text_equal)
    share = SCALE_SHARE if floor is not None else SCALE_SHARE_ALONE
    noise = max(NOISE_FACTOR * (floor or 0.0), share * (scale or 0.0))
    quiet, limit = (max(absolute, noise) for absolute in tolerance(kv_dtype))
    state = "equal" if seen <= quiet / 2 else "differs" if seen > limit else "unclear"
    if scale is None or scale <= limit:
        state = "unclear"
    return Comparison(state, round(seen, 4), round(limit, 4), text_equal)


def words_right(request: dict | None, expected_text: str | None) -> int | None:
    """How many words of the only right continuation an answer begins with; None: there is none to compare with."""
    if not request or request.get("error") or request.get("text") is None or not expected_text:
        return None
    pairs = list(zip(request["text"].split(), expected_text.split()))
    return next((n for n, (said, right) in enumerate(pairs) if said != right), len(pairs))


def nonsense(request: dict | None) -> str | None:
    """Why an answer is not a sensible one, in a few words; None when it is (or there is none to look at)."""
    if not request or request.get("error"):
        return None
    text = request.get("text") or ""
    if not text.strip():
        return "the answer is empty"
    if not request.get("finish_reason"):
        return "the answer ended without a finish reason"
    words = text.split()
    if len(words) >= 8 and len(set(words)) == 1:
        return f"the answer is one word over and over ({words[0][:20]!r})"
    for size in range(1, 9):
        unit = text[:size]
        if len(text) >= 16 and len(text) >= 8 * size and text == (unit * (len(text) // size + 1))[: len(text)]:
            return f"the answer is one token over and over ({unit!r})"
    return None
