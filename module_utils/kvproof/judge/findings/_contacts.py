# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this very run shows to work: contacts that refute a condition which looks wrong."""

from __future__ import annotations

from . import CERTAIN, HINT


def reached_controller(case, side, attempts) -> bool:
    """This node and the controller talk: the holder's chunks got there, or the receiver had a real answer."""
    if side is case.holder:
        return any(a.announced or a.named for a in attempts)
    return any(e.get("kind") == "layout" and e.get("chunks") for e in side.events)


def reached_holder(case, attempts) -> bool:
    """The receiver reached the holder's P2P ports: the holder was asked for one of this run's requests."""
    sent = [request for request in case.requests() if request.get("engine") == "receiver"]
    return any(a.asked for a in attempts) or any(case.holder.events_of(case.ids(r), "peer_asked") for r in sent)


def dial_strength(side) -> str:
    """How much a failed dial from a node proves: nothing where the engine lives in a namespace of its own."""
    return HINT if (side.node.get("engine") or {}).get("other_namespace") else CERTAIN
