# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings
from ._transfers import transfers_of

FINDING = Finding(
    slug="transfer-too-slow",
    link=10,
    kind="cause",
    rank=15,
    title="The transfer takes longer than a lookup waits",
    meaning=(
        "The holder sends what it was asked for, and the receiver has given up by then: users wait for the time-out "
        "and for the recompute."
    ),
    evidence="From `Received P2P batched lookup` to `P2P transfer finished` in the holder's log.",
    remedy=(
        "Give the transfer a faster way (RDMA instead of TCP, the right UCX_NET_DEVICES); raise lookup_timeout_ms "
        "only where waiting that long still beats a recompute."
    ),
    source="LMCache 0.5.6 lmcache_async_lookup_client.py:177",
    architectures=("inprocess_p2p",),
    explains=frozenset(["timed-out", "slow"]),
    covers=("lookup-timed-out",),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    reuses = [trial["reuse"] for trial in case.trials if trial.get("reuse")]
    spans = [transfer.finished_s for transfer in transfers_of(case, reuses) if transfer.finished_s is not None]
    limit = case.lookup_timeout_s
    lost = attempts and all(a.outcome in ("timed-out", "slow") for a in attempts)
    if lost and spans and min(spans) >= limit:
        yield Sighting(
            case.holder.name,
            f"a transfer within the lookup's {limit:g} s",
            f"{min(spans):.1f} s and more for each of {len(spans)}",
            "the receiver had given up waiting when the KV arrived",
        )
