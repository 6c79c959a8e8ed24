# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..counters import counter_delta
from . import CERTAIN, HINT, Attempt, Case, Finding, Sighting, Sightings
from .announced_late import late_rise

FINDING = Finding(
    slug="not-announced",
    link=8,
    kind="cause",
    rank=10,
    title="The holder did not announce what it stored",
    meaning="The controller's key count of the holder did not rise, so peers cannot learn of the chunks.",
    evidence="key_count in /controller/workers before and after the seed.",
    remedy="Check enable_controller and local_cpu on the holder, and the controller's log.",
    source="LMCache 0.5.6",
    architectures=("inprocess_p2p",),
    explains=frozenset(["missed"]),
)


EVICTED = ("lmcache:local_cpu_evict_keys_count_total", "lmcache:local_cpu_evict_count_total")


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    if any(a.outcome == "proven" for a in attempts):
        return  # somebody learned of the chunks: the key count locates a break and never creates one
    known = [a for a in attempts if a.announced is not None]
    if known and not any(a.announced for a in known) and any(a.stored for a in known):
        evicted = any(counter_delta(case.holder, name) for name in EVICTED)
        reason = "but its pool evicts, so the count need not rise" if evicted else "nothing was announced"
        yield Sighting(
            case.holder.name,
            "a key_count that rises by the chunks stored",
            "it did not rise within the waiting time",
            reason,
            strength=HINT if evicted or late_rise(case, attempts) else CERTAIN,
        )
