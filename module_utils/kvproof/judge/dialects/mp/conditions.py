# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Links that cache servers and their coordinator witness: 3 to 5 and 7 to 9 of the chain."""

from __future__ import annotations

from ....stack import mp
from ...attempt import Attempt
from ...case import Case
from ...link import HOLDS, INFERRED, UNKNOWN, Link, tokens
from .observe import window_of

SAME = {
    "chunk_size": "chunk size",
    "hash_algorithm": "hash",
    "model_name": "model",
    "world_size": "world size",
}
REGISTERED = "registered"


def cache_layer(case: Case, proven: list[Attempt]) -> Link:
    """A healthy cache server beside each engine, which the engine is registered with."""
    healthy = [side for side in case.sides if side.server_healthy]
    tied = [side for side in case.sides if side.uses_its_server]
    if len(healthy) == 2:
        bound = "; each engine is registered with its own" if len(tied) == 2 else ""
        return Link(3, HOLDS, f"a healthy cache server beside both{bound}")
    if proven:
        return Link(3, INFERRED, "a P2P reuse needs a cache server on both")
    unseen = " and ".join(side.name for side in case.sides if side not in healthy)
    return Link(3, UNKNOWN, f"no healthy cache server seen of {unseen}")


def alike(case: Case, proven: list[Attempt]) -> Link:
    """What both servers must have alike, by themselves."""
    pairs = {key: [side.server.get(key) for side in case.sides] for key in SAME}
    both = {key: values for key, values in pairs.items() if None not in values}
    same = [f"{SAME[key]} {values[0]}" for key, values in both.items() if values[0] == values[1]]
    if len(same) == len(SAME):
        return Link(4, HOLDS, "both servers: " + ", ".join(same))
    if proven:
        seen = f"; seen alike: {', '.join(same)}" if same else ""
        return Link(4, INFERRED, "chunk keys match, or nothing would have been found" + seen)
    unseen = [SAME[key] for key in pairs if key not in both]
    return Link(4, UNKNOWN, "not seen on both: " + ", ".join(unseen) if unseen else "seen, and not as it should be")


def registered(case: Case, proven: list[Attempt]) -> Link:
    """Both servers have P2P on, are registered with the coordinator, and count each other among their peers."""
    ids = [side.instance_id for side in case.sides]
    state = [side.server.get("p2p_state") for side in case.sides]
    listed = {instance.get("instance_id") for instance in case.instances or []}
    met = ids[0] in (case.receiver.server.get("p2p_peers") or [])
    if state == [REGISTERED] * 2 and met and (case.instances is None or set(ids) <= listed):
        by = f"coordinator lists {ids[0]} and {ids[1]}; " if case.instances is not None else ""
        return Link(5, HOLDS, f"{by}{ids[1]} has {ids[0]} among its peers")
    if proven:
        return Link(5, INFERRED, "the receiver's server found the holder's")
    if None in state:
        return Link(5, UNKNOWN, "P2P's state was not seen on both servers")
    return Link(5, UNKNOWN, f"P2P is {state[0]} on {case.holder}'s server, {state[1]} on {case.receiver}'s")


def stored(case: Case, attempt: Attempt) -> Link:
    """The holder's server wrote the seed's chunks."""
    if attempt.stored is None:
        return Link(7, UNKNOWN, f"{case.holder}'s server was not read, or served others meanwhile")
    return Link(7, HOLDS if attempt.stored else UNKNOWN, f"{case.holder}'s server stored {tokens(attempt.stored)}")


def announced(case: Case, attempt: Attempt) -> Link:
    """The coordinator's directory names the holder's server for the seed's chunks.  Peers ask each other without it."""
    if attempt.announced:
        return Link(8, HOLDS, f"coordinator's directory has every chunk at {case.holder.instance_id}")
    why = "its directory does not have all chunks there" if attempt.announced is False else "its directory was not read"
    return Link(8, UNKNOWN, why)


def found(case: Case, attempt: Attempt) -> Link:
    """The receiver's server found chunks at a peer."""
    trial = next((trial for trial in case.trials if trial.get("index") == attempt.index), {})
    window = window_of(trial, "receiver_server", 1)
    if attempt.asked:
        by = f" ({int(window[mp.HIT_L2])} of {int(window.get(mp.REQUESTED) or 0)} tokens)" if window else ""
        return Link(9, HOLDS, f"{case.receiver}'s server found them at a peer{by}")
    if window is not None:
        sought = int(window.get(mp.REQUESTED) or 0)
        return Link(9, UNKNOWN, f"{case.receiver}'s server looked for {sought} tokens and found none at a peer")
    return Link(9, UNKNOWN, f"{case.receiver}'s server was not read, or served others meanwhile")
