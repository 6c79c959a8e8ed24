# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Links that a controller and LMCache in the engine's process witness: 3 to 5, 8 and 9 of the chain.

proven: the attempts that were proven.  attempt: the one that the chain shows.
"""

from __future__ import annotations

from typing import Any

from ...attempt import Attempt
from ...case import Case
from ...link import HOLDS, INFERRED, UNKNOWN, Link

BACKEND = "P2PBackend"
SAME = ("chunk_size", "pre_caching_hash_algorithm")
ON = ("enable_p2p", "enable_async_loading")
SAME_MODEL = ("model_name", "kv_dtype", "world_size")


def cache_layer(case: Case, proven: list[Attempt]) -> Link:
    """LMCache runs on both nodes, with a backend that shares KV with peers."""
    if all(BACKEND in (side.backends or []) for side in case.sides):
        return Link(3, HOLDS, "LMCache up with a P2P backend on both")
    if proven:
        return Link(3, INFERRED, "a P2P reuse needs LMCache on both")
    unseen = [side.name for side in case.sides if side.backends is None]
    return Link(3, UNKNOWN, ("backends not seen on " + " and ".join(unseen)) if unseen else "no P2P backend seen")


def alike(case: Case, proven: list[Attempt]) -> Link:
    """Settings that both nodes must have alike, as far as they were read on both."""
    pairs: dict[str, tuple[Any, Any]] = {"NONE_HASH": (case.holder.none_hash, case.receiver.none_hash)}
    for key in (*SAME, *ON):
        settings = [side.flag(key) if key in ON else side.setting(key) for side in case.sides]
        pairs[key] = (settings[0] and settings[0].value, settings[1] and settings[1].value)
    models = {key: tuple(side.meta(key) for side in case.sides) for key in SAME_MODEL}
    both = {key: values for key, values in {**pairs, **models}.items() if None not in values}
    alike = [key for key, (left, right) in both.items() if left == right and not (key in ON and not left)]
    text = ", ".join(key if key in ("NONE_HASH", *SAME_MODEL) else f"{key} {both[key][0]}" for key in alike)
    if set(pairs) <= set(alike) and len(alike) == len(both):
        return Link(4, HOLDS, text)
    if proven:
        rest = f"; seen alike: {text}" if text else ""
        return Link(4, INFERRED, "chunk keys match, or nothing would have been found" + rest)
    unseen = [key for key in pairs if key not in both]
    return Link(4, UNKNOWN, "not seen on both: " + ", ".join(unseen) if unseen else "seen, and not as it should be")


def registered(case: Case, proven: list[Attempt]) -> Link:
    """The controller lists both engines."""
    known = [side.instance_id for side in case.sides]
    listed = {worker.get("instance_id") for worker in case.workers or []}
    if all(known) and known[0] != known[1] and set(known) <= listed:
        return Link(5, HOLDS, f"controller lists {known[0]} and {known[1]}")
    if proven:
        return Link(5, INFERRED, "the receiver was told of the holder")
    why = "not matched with the controller's workers" if case.workers is not None else "no list of workers was seen"
    return Link(5, UNKNOWN, why)


def announced(case: Case, attempt: Attempt) -> Link:
    """The controller's key count of the holder rose after the seed."""
    if not attempt.announced:
        return Link(8, UNKNOWN, "the key count did not rise" if attempt.announced is False else "key count not seen")
    visible = [trial.get("visible") or {} for trial in case.trials]
    waited = [v["waited_s"] for v in visible if v.get("reached") and v.get("waited_s") is not None]
    when = f" after {min(waited) * 1000:.0f} ms" if waited else ""
    return Link(8, HOLDS, f"controller's key count of {case.holder} rose{when}")


def found(case: Case, attempt: Attempt) -> Link:
    """The controller named the holder to the receiver."""
    named = [e for e in attempt.layouts or [] if e.get("chunks")]
    if named:
        state = UNKNOWN if attempt.named is False else HOLDS
        return Link(9, state, f"controller named {named[-1].get('instance')} with {named[-1]['chunks']} chunks")
    if not attempt.logged:
        return Link(9, UNKNOWN, f"no log of {case.receiver} shows the reuse")
    if attempt.layouts is None:
        return Link(9, UNKNOWN, "others' lookups stand between in the log")
    return Link(
        9, UNKNOWN, "the controller's answer was empty" if attempt.layouts else "no controller answer in the log"
    )
