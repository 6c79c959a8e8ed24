# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""LMCache's prefill/decode transfer (enable_pd): the prefill node pushes a prompt's KV to the decode node.

Log lines are those of the in-process mode and a few of its own (stack/lines/lmcache_pd.py).  There is no controller.  A
decode node has, beside the buffer that prefill nodes write into, at most KV that it computed itself, so what it loads
for a prompt that was new to it was pushed.  Its own lines and response tell how much; the prefill node's `Stored` line
also stands where nothing was delivered.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...stack.disagg import BACKEND
from ..attempt import Attempt
from ..case import Case
from ..link import HOLDS, INFERRED, NOT_NEEDED, UNKNOWN, Link, tokens
from . import inprocess_p2p
from .inprocess_p2p.conditions import SAME, SAME_MODEL

#: What a decode node may have beside the buffer without getting KV from anywhere else.
OWN = {BACKEND, "LocalCPUBackend"}


def observe(case: Case) -> list[Attempt]:
    """One Attempt per fresh prompt.  All of it but the last token is expected, whose logits have to be computed."""
    attempts = inprocess_p2p.DIALECT.observe(case)
    backends = set(case.receiver.backends or [])
    pushed_alone = BACKEND in backends and backends <= OWN
    for trial, attempt in zip(case.trials, attempts):
        length = trial.get("prefix_tokens")
        attempt.expected = length - 1 if length else None
        if attempt.retrieved and attempt.expected and attempt.retrieved == length:
            attempt.retrieved = attempt.expected
        attempt.asked, attempt.layouts, attempt.named, attempt.announced = None, None, None, None
        if not attempt.loaded or not pushed_alone:
            continue
        if attempt.expected is None or attempt.loaded < attempt.expected:
            attempt.peer_error = f"{attempt.loaded} of {tokens(attempt.expected)}, so the rest was computed again"
        else:
            attempt.asked = True
            attempt.transfer_witness = (
                f"pushed by {case.holder}: new to {case.receiver}, which gets KV from nowhere else"
            )
    return attempts


def cache_layer(case: Case, proven: list[Attempt]) -> Link:
    """The PD backend runs on both nodes, on the decode node with a buffer to write into."""
    unseen = [side.name for side in case.sides if BACKEND not in (side.backends or [])]
    if unseen:
        return Link(3, INFERRED if proven else UNKNOWN, f"{BACKEND} not seen on {' and '.join(unseen)}")
    rooms = [event["chunks"] for event in case.receiver.head("pd_admission") if event.get("chunks")]
    room = f", {case.receiver} has room for {rooms[-1]:.0f} chunks" if rooms else ""
    return Link(3, HOLDS, f"{BACKEND} up on both{room}")


def alike(case: Case, proven: list[Attempt]) -> Link:
    """Both name the same chunks alike, and each has its role."""
    both: dict[str, tuple[Any, Any]] = {"NONE_HASH": (case.holder.none_hash, case.receiver.none_hash)}
    for key in SAME:
        settings = [side.setting(key) for side in case.sides]
        both[key] = (settings[0] and settings[0].value, settings[1] and settings[1].value)
    both.update({key: (case.holder.meta(key), case.receiver.meta(key)) for key in SAME_MODEL})
    same = [key for key, (left, right) in both.items() if left is not None and left == right]
    roles = [setting and setting.value for setting in (side.setting("pd_role") for side in case.sides)]
    text = ", ".join([f"pd_role {roles[0]} and {roles[1]}"] * all(roles) + same)
    if roles == ["sender", "receiver"] and len(same) == len(both):
        return Link(4, HOLDS, text)
    return Link(4, INFERRED if proven else UNKNOWN, f"seen alike: {text}" if text else "not seen on both")


def registered(case: Case, proven: list[Attempt]) -> Link:
    """The two have met: a prefill node asks once, before the first KV that it pushes."""
    if case.receiver.head("init_received") or any(e.get("kind") == "init_received" for e in case.receiver.events):
        return Link(5, HOLDS, f"{case.receiver} was asked to meet a prefill node; there is no registry")
    if proven:
        return Link(5, INFERRED, f"{case.holder} pushed, so the two have met")
    return Link(5, UNKNOWN, f"no prefill node has asked {case.receiver} for a connection, as far as its log was read")


def announced(case: Case, attempt: Attempt) -> Link:
    """Nobody keeps account of KV here."""
    return Link(8, NOT_NEEDED, "the prefill node is told where to push; nothing is announced")


def found(case: Case, attempt: Attempt) -> Link:
    """The decode node's lookup met the KV in its own buffer."""
    if not attempt.logged:
        return Link(9, UNKNOWN, f"no log of {case.receiver} shows the reuse")
    return Link(9, HOLDS if attempt.hit else UNKNOWN, f"{case.receiver} had {tokens(attempt.hit)} of it at lookup")


DIALECT = replace(
    inprocess_p2p.DIALECT,
    observe=observe,
    cache_layer=cache_layer,
    alike=alike,
    registered=registered,
    announced=announced,
    found=found,
    transfers=lambda case, attempts: None,
)
