# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..pasted import P2P
from . import Attempt, Case, Finding, Sighting, Sightings, strength

FINDING = Finding(
    slug="instance-id-duplicate",
    link=5,
    kind="cause",
    rank=30,
    title="Two nodes have the same lmcache_instance_id",
    meaning="A lookup leaves out the asker's own id, so two nodes with one id never find each other.",
    evidence="lmcache_instance_id in the effective configuration or the YAML of both nodes.",
    remedy="Give every engine its own lmcache_instance_id (or leave it unset), restart the engines.",
    source="LMCache 0.5.6",
    explains=frozenset(["missed", "timed-out", "slow"]),
    covers=("not-registered", "registered-elsewhere", "not-announced"),  # they share one key count
    cause_class="CONFIG_KEY",
    compares=P2P,
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    holder, receiver = (side.identity for side in case.sides)
    urls = [(side.engine.get("cache_server") or {}).get("url") for side in case.sides]
    if urls[0] and urls[0] == urls[1]:
        return  # two engines of one cache server
    if holder and receiver and holder.value == receiver.value:
        yield Sighting(
            case.receiver.name,
            f"another id than {case.holder} has",
            f"{'--instance-id' if case.receiver.server else 'lmcache_instance_id'}: {receiver.value} on both",
            "a lookup leaves out its own id",
            strength=strength(holder, receiver),
        )
