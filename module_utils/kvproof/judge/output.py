# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is the reused output right?  Log-probabilities of a reuse against those of a recompute of the same prompt.

Text is a weak witness: in 24 probes with damaged KV it stayed equal in 18.  A healthy reuse need not be
bit-identical either: its suffix has another shape, and a 16-bit logit moves in steps (0.03 nats at a logit of 4 to
8, 0.125 at 16 to 32), so single tokens of healthy reuses were seen 0.03 and 0.1 nats apart.  Damage moves every
token.  So the mean over tokens counts, against three things: the noise of two recomputes, an absolute tolerance of
the dtype, and a share of what another prefix with the same ending does to this model.  On a trained model whose
answer stands in the prefix that share is far above any rounding.

What is not known makes both verdicts harder to reach: without a dtype "equal" needs the fine tolerance and damage the
coarse one; without the noise a larger share counts; without the other prefix the output stays unclear.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from .attempt import REUSED, Attempt
from .case import Case

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


def difference(left: list | None, right: list | None) -> float | None:
    """Mean |Δ log-probability| in nats over the tokens both generated, up to and with the first that differs.

    A token that only one of them lists among its most likely ones is at most as likely in the other as the last
    one listed there, so that much at least it is apart.  None: nothing to compare.
    """
    positions = []
    for a, b in zip(left or [], right or []):
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
    differences = [abs(left[token] - right[token]) for token in left.keys() & right.keys()]
    for these, those in ((left, right), (right, left)):
        least = min(those.values())
        differences += [max(0.0, value - least) for token, value in these.items() if token not in those]
    return differences


def compare(
    reuse: dict | None, recompute: dict | None, floor: float | None, scale: float | None, kv_dtype: str | None
) -> Comparison:
    """Judge one reuse against a recompute.  floor and scale as difference() gives them, in nats, or None.

    Where another prefix makes no more difference than the limit, this model could not show damage at all.
    """
    if not reuse or not recompute or reuse.get("error") or recompute.get("error"):
        return Comparison("unread")
    text_equal = reuse.get("text") == recompute.get("text")
    apart = difference(reuse.get("logprobs"), recompute.get("logprobs"))
    if apart is None:
        return Comparison("unread", text_equal=text_equal)
    share = SCALE_SHARE if floor is not None else SCALE_SHARE_ALONE
    noise = max(NOISE_FACTOR * (floor or 0.0), share * (scale or 0.0))
    quiet, limit = (max(absolute, noise) for absolute in tolerance(kv_dtype))
    state = "equal" if apart <= quiet / 2 else "differs" if apart > limit else "unclear"
    if scale is None or scale <= limit:
        state = "unclear"
    return Comparison(state, round(apart, 4), round(limit, 4), text_equal)


def words_right(request: dict | None, expected_text: str | None) -> int | None:
    """How many words of the only right continuation an answer begins with; None: there is none to compare with."""
    if not request or request.get("error") or request.get("text") is None or not expected_text:
        return None
    pairs = list(zip(request["text"].split(), expected_text.split()))
    return next((n for n, (word, right) in enumerate(pairs) if word != right), len(pairs))


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


@dataclass(frozen=True)
class OutputVerdict:
    """state: "equal", "differs", "unclear", "unread" or "none" (no reuse to compare)."""

    state: str
    text: str
    trials: int = 0
    difference: float | None = None  # nats, the largest of the trials in question
    limit: float | None = None
    floor: float | None = None


def case_output(case: Case, attempts: list[Attempt]) -> OutputVerdict:
    """Compares every reuse with its recompute.

    "differs" needs two trials that agree on it, and a third of all.  "equal" needs a comparison for every reuse; where
    no knock-out was possible, for the one that the reference belongs to.
    """
    pairs = _comparisons(case, attempts)
    if not pairs:
        return OutputVerdict("none", "nothing was reused")
    floor, scale = _floor(case), _scale(case)
    dtype = case.receiver.meta("kv_dtype")
    comparisons = [compare(trial["reuse"], recompute, floor, scale, dtype) for trial, recompute in pairs]
    states = [c.state for c in comparisons]
    worst = max((c.difference for c in comparisons if c.difference is not None), default=None)
    limit = max((c.limit for c in comparisons if c.limit is not None), default=None)
    common = {"difference": worst, "limit": limit, "floor": floor}
    apart = states.count("differs")
    if apart >= 2 and apart * 3 >= len(states):
        return OutputVerdict("differs", f"apart by up to {worst}", apart, **common)
    if all(state == "unread" for state in states):
        return _by_text(pairs)
    if apart or states.count("unclear") * 2 > len(states):
        return OutputVerdict("unclear", f"apart by {worst}, damage would be above {limit}", len(states), **common)
    if "unread" in states:
        left = states.count("unread")
        return OutputVerdict("unread", f"{left} of {len(states)} reuses have no recompute to compare with", left)
    return OutputVerdict("equal", f"log-probabilities within {worst} of a recompute's", len(states), **common)


def as_recomputed(case: Case, request: dict | None, recompute: dict | None) -> Comparison:
    """Another request of this pair's engines against its recompute, by what the pair's own showed of noise."""
    return compare(request, recompute, _floor(case), _scale(case), case.receiver.meta("kv_dtype"))


def _comparisons(case: Case, attempts: list[Attempt]) -> list[tuple[dict, dict | None]]:
    """(trial, its recompute or None) of every reuse that has to be compared."""
    reused = [(trial, a) for trial, a in zip(case.trials, attempts) if a.outcome in REUSED]
    if not any(trial.get("knockout") for trial in case.trials):
        last = next((trial for trial in reversed(case.trials) if trial.get("reuse")), None)
        reference = case.probe.get("reference")
        mine = [(trial, reference) for trial, _attempt in reused if trial is last]
        return mine or [(trial, None) for trial, _attempt in reused]
    return [(trial, recompute_of(trial, a)) for trial, a in reused]


def recompute_of(trial: dict, attempt: Attempt) -> dict | None:
    """The trial's knock-out where it is a recompute: one that was made to miss must be seen to have missed."""
    if trial.get("knockout_how") == "none" or attempt.control_hits.get("knockout") == 0:
        return trial.get("knockout")
    return None


def _by_text(pairs: list[tuple[dict, dict | None]]) -> OutputVerdict:
    """Without log-probabilities only an answer counts that the prefix alone states: text alone is a weak witness."""
    scores = [
        (
            words_right(trial["reuse"], trial.get("expected_text")),
            words_right(recompute, trial.get("expected_text")),
        )
        for trial, recompute in pairs
    ]
    usable = [(reuse, cold) for reuse, cold in scores if cold is not None and cold >= WORDS_TELL]
    wrong = sum(1 for reuse, _cold in usable if reuse == 0)
    if wrong >= 2 and wrong * 3 >= len(pairs):
        return OutputVerdict("differs", "the recompute continues the prefix, the reuse does not", wrong)
    right = sum(1 for reuse, _cold in usable if reuse is not None and reuse >= WORDS_TELL)
    if right == len(pairs):
        return OutputVerdict("equal", "the answers state what only the prefix says, as the recomputes do", right)
    return OutputVerdict("unread", "no log-probabilities, and the text alone proves too little", len(pairs))


def unread_controls(case: Case, attempts: list[Attempt], never_seen: int | None) -> list[str]:
    """Names of the controls without which a proven reuse proves little, and that could not be read."""
    proven = [(trial, a) for trial, a in zip(case.trials, attempts) if a.outcome == "proven"]
    if not proven:
        return []
    left = ["never-seen"] if never_seen is None else []
    if any(trial.get("knockout") for trial in case.trials):
        unread = [
            a for trial, a in proven if trial.get("knockout_how") != "none" and a.control_hits.get("knockout") is None
        ]
        unread += [a for trial, a in proven if trial.get("knockout_how") == "none" and not trial.get("knockout")]
        left += ["knock-out"] if unread else []
    return left


def _last_recompute(case: Case) -> dict:
    """The recompute of the last trial that has one; the controls are made after its prompt."""
    knocked = [
        trial["knockout"] for trial in case.trials if trial.get("knockout") and not trial["knockout"].get("error")
    ]
    return knocked[-1] if knocked else case.probe.get("reference") or {}


def _floor(case: Case) -> float | None:
    """Difference of two recomputes of one prompt: the noise of this engine, in nats."""
    again = case.probe.get("recompute") or {}
    return difference(_last_recompute(case).get("logprobs"), again.get("logprobs"))


def _scale(case: Case) -> float | None:
    """What another prefix with the same ending does to the first token's log-probabilities, in nats."""
    never = (case.probe.get("never_seen") or {}).get("logprobs") or []
    return difference(never[:1], _last_recompute(case).get("logprobs"))
