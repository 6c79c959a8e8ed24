# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is the reused output right?  Log-probabilities of a reuse against those of a recompute of the same prompt.

Text is a weak witness: in 24 probes with damaged KV it stayed equal in 18, while the log-probabilities of the
first token differed by 0.06 to 0.35 (0.0, once 0.016, for healthy reuse; tiny model, bf16).  A healthy reuse need
not be bit-identical either: its suffix has another shape.  So a difference counts as damage only when it is well
above the measured noise, above an absolute tolerance of the KV's dtype, and not small beside what another
prefix does to this model (the never-seen control has the same ending and another prefix).
"""

from __future__ import annotations

from dataclasses import dataclass

TOLERANCE = {"float32": 0.01, "bfloat16": 0.05, "float16": 0.05, "half": 0.05}
TOLERANCE_COARSE = 0.25  # fp8, int8, unknown dtypes
NOISE_FACTOR = 3.0  # "well above" a second recompute's difference
SCALE_SHARE = 0.15  # of the difference that another prefix makes


@dataclass(frozen=True)
class Comparison:
    """``difference``: largest |Δ log-probability| in nats; ``limit``: what counts as damage above it."""

    state: str  # "equal", "differs", "unclear", "unread"
    difference: float | None = None
    limit: float | None = None
    text_equal: bool | None = None


def tolerance(kv_dtype: str | None) -> float:
    """Absolute tolerance in nats for a KV dtype such as "torch.bfloat16"."""
    return TOLERANCE.get((kv_dtype or "").rsplit(".", maxsplit=1)[-1], TOLERANCE_COARSE)


def difference(one: list | None, other: list | None) -> float | None:
    """Largest |Δ log-probability| over the tokens both generated, up to and with the first that differs.

    Each position compares every token that both list among their most likely ones.  None: nothing to compare.
    """
    found: list[float] = []
    for a, b in zip(one or [], other or []):
        left, right = dict(a.get("top") or {}), dict(b.get("top") or {})
        for side, entry in ((left, a), (right, b)):
            if entry.get("logprob") is not None:
                side.setdefault(entry.get("token"), entry["logprob"])
        found += [abs(left[token] - right[token]) for token in left.keys() & right.keys()]
        if a.get("token") != b.get("token"):
            break
    return max(found) if found else None


def compare(
    reuse: dict | None, recompute: dict | None, floor: float | None, scale: float | None, kv_dtype: str | None
) -> Comparison:
    """Judge one reuse against a recompute.  floor and scale as difference() gives them, in nats, or None."""
    if not reuse or not recompute or reuse.get("error") or recompute.get("error"):
        return Comparison("unread")
    text_equal = reuse.get("text") == recompute.get("text")
    seen = difference(reuse.get("logprobs"), recompute.get("logprobs"))
    if seen is None:
        return Comparison("unread", text_equal=text_equal)
    limit = max(tolerance(kv_dtype), NOISE_FACTOR * (floor or 0.0), SCALE_SHARE * (scale or 0.0))
    quiet = max(limit / 2, floor or 0.0)
    state = "equal" if seen <= quiet else "differs" if seen > limit else "unclear"
    return Comparison(state, round(seen, 4), round(limit, 4), text_equal)


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
