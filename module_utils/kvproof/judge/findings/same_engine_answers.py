# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..apart import one_process
from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="same-engine-answers",
    link=6,
    kind="validity",
    rank=5,
    title="Both requests went to one engine",
    meaning=(
        "The seed was sent to the holder and served by the receiver: a router stands before the engines, or both "
        "URLs lead to one engine. What was reused had never been on another engine."
    ),
    evidence=(
        "The seed's request id in the receiver's log, and not in the holder's, which was read; or one process behind "
        "both URLs, by its start, its id, or the seeds' tokens on both metrics pages."
    ),
    remedy="Give kv_reuse_url of each engine its own address, past any router or load balancer.",
    source="kvproof",
    voids=True,
    covers=(
        "reuse-absent",
        "reuse-unattributed",
        "other-engine-unproven",
        "reused-locally-not-p2p",
        "nothing-stored",
        "not-announced",
        "log-without-this-run",
        "not-idle",
    ),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    proof = None if any(a.outcome == "proven" for a in attempts) else one_process(case)
    if proof:
        yield Sighting(case.holder.name, f"another engine than {case.receiver}", proof, "both URLs lead to one engine")
    if proof or not case.holder.log_readable:
        return  # both engines may write to the one log that was read
    seeds = [case.ids(trial.get("seed")) for trial in case.trials]
    astray = [ids for ids in seeds if case.receiver.events_of(ids) and not case.holder.events_of(ids)]
    if astray:
        yield Sighting(
            case.holder.name,
            f"the seeds' ids in the log of {case.holder}",
            f"{len(astray)} of {len(seeds)} seeds in the log of {case.receiver}",
            f"what was sent to {case.holder.engine.get('url') or 'the holder'} arrived at {case.receiver}",
        )
