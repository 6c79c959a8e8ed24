# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Multiprocess mode: the receiver's server says per request how many chunks came from a peer."""

from __future__ import annotations

from dataclasses import replace

from .. import counters
from ..attempt import Attempt
from ..case import Case
from . import inprocess_p2p

PEER_ADAPTER = "P2PL2Adapter"


def observe(case: Case) -> list[Attempt]:
    """One Attempt per fresh prompt.  Chunks of L2 count as a peer's where every L2 adapter is a P2P one."""
    return [_attempt(case, trial) for trial in case.trials]


def never_seen_hit(case: Case) -> int | None:
    return counters.response_hit(case.probe.get("never_seen"))


def _attempt(case: Case, trial: dict) -> Attempt:
    reuse = trial.get("reuse") or {}
    attempt = Attempt(
        index=trial.get("index", 0),
        expected=case.expected_hit(trial),
        seed_error=(trial.get("seed") or {}).get("error"),
        reuse_error=reuse.get("error"),
        cached=reuse.get("cached_tokens"),
    )
    fetched = case.receiver.events_of(reuse.get("response_id"), "prefetched")
    if fetched and attempt.cached is not None:
        adapters = (case.receiver.node.get("cache_server") or {}).get("l2_adapters") or []
        from_l2 = sum(event["l2"] for event in fetched)
        attempt.logged, attempt.retrieved, attempt.layouts = True, attempt.cached, []
        attempt.transfer_witness = f"{from_l2} chunks came from a peer's server (L2)"
        attempt.asked = bool(from_l2) and bool(adapters) and all(kind == PEER_ADAPTER for kind in adapters)
    return attempt


DIALECT = replace(
    inprocess_p2p.DIALECT,
    observe=observe,
    never_seen_hit=never_seen_hit,
    transfers=lambda case, attempts: None,
)
