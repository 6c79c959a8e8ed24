# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from .. import ranks
from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="rank-without-hits",
    link=7,
    kind="cause",
    rank=8,
    title="One rank of several takes no part",
    meaning=(
        "With tensor parallelism every rank stores and loads its own part of the KV, and a chunk counts only where all "
        "ranks have it. One rank that stores nothing, or that is not registered with its cache server, makes all of "
        "them worthless."
    ),
    evidence=(
        "The ranks of each key in the coordinator's directory, the chunks that the cache server wrote, the number of "
        "`Stored` lines of a seed, and the engine's ranks that its cache server lists."
    ),
    remedy="Look at that rank's worker process and its LMCache errors in the engine's log, and restart the engine.",
    source="LMCache 0.5.6 v1/lookup_client/lmcache_async_lookup_client.py:243, v1/distributed/api.py:183",
    architectures=("inprocess_p2p", "lmcache_pd", "mp"),
    covers=("reuse-absent", "not-announced"),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    yield from _unregistered(case)
    stored = [these for these in (ranks.stored(case, trial) for trial in case.trials) if these]
    if stored and all(these.is_partial for these in stored):
        yield Sighting(
            case.holder.name,
            f"KV stored by {stored[0].size} of {stored[0].size} ranks",
            str(stored[0]),
            "a chunk counts only where every rank has it",
        )


def _unregistered(case: Case) -> Sightings:
    """Engines of which the cache server lists some ranks and lacks others."""
    for side in case.sides:
        mine, listed = side.registered_as, set(side.server.get("engines") or [])
        missing = mine - listed
        if missing and missing != mine and len(mine) == ranks.count(side):
            yield Sighting(
                side.name,
                f"{len(mine)} ranks registered with the cache server",
                f"{len(mine) - len(missing)} of {len(mine)} ranks: it lacks {', '.join(sorted(missing))}",
                "a rank that is not registered neither stores nor loads",
            )
