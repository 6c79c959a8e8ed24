# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..pasted import HINT, SETTING, Sign
from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="pool-exhausted",
    link=7,
    kind="cause",
    rank=5,
    title="LMCache's CPU pool has no room",
    meaning=(
        "max_local_cpu_size (with enable_pd: pd_buffer_size) is below what the prompts in flight need. A holder then "
        "stores the first chunks only, and a receiver waits for room until the lookup's time-out."
    ),
    evidence="`Local cpu memory under pressure` in the engine's log during the run.",
    remedy="Raise max_local_cpu_size (GB per rank) to several of your longest prompts, restart the engine.",
    source="LMCache 0.5.6 cache_engine.py:492, local_cpu_backend.py:719",
    architectures=("inprocess_p2p",),
    explains=frozenset(["missed", "timed-out", "slow"]),
    covers=("nothing-stored", "not-announced", "peer-silent", "lookup-timed-out"),
    cause_class="MEMORY",
    cannot="Whether the prompt that was missed is one of those that found no room.",
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    short = [a for a in attempts if a.expected and a.stored is not None and a.stored < a.expected]
    lines = [e for e in case.holder.events if e.get("kind") == "memory_pressure"]
    if lines and short:
        yield _sighting(case.holder, lines, "it has no room for the chunks it should keep")
    lost = [(trial, a) for trial, a in zip(case.trials, attempts) if a.outcome == "timed-out"]
    waits = [line for line in (_waited_for_room(case, trial) for trial, _attempt in lost) if line]
    if lost and len(waits) == len(lost):
        yield _sighting(case.receiver, waits, "it has no room for what a peer would send, and waits for some")


def _sighting(side, lines: list[dict], reason: str) -> Sighting:
    return Sighting(
        side.name,
        "room in LMCache's CPU pool",
        f"{lines[-1].get('line') or 'Local cpu memory under pressure'} "
        f"(max_local_cpu_size: {side.setting('max_local_cpu_size') or 'unknown'})",
        reason,
    )


def _waited_for_room(case, trial: dict) -> dict | None:
    """The last such line while this reuse's lookup ran, up to its time-out."""
    waited = None
    ids = case.ids(trial.get("reuse"))
    ends = [id(e) for e in case.receiver.events_of(ids, "lookup_timed_out")]
    for event in case.receiver.events:
        if id(event) in ends:
            return waited
        if event.get("kind") == "memory_pressure":
            waited = event
        elif event.get("kind") == "looked_up":
            waited = None
    return None


def pasted(material):
    # a PD decode node frees its buffer when it retrieves: where it never finds anything, the full buffer follows
    follows = material.misses and material.is_on("enable_pd")
    for role, line in material.lines("memory_pressure", "no_memory"):
        yield Sign(role, line, HINT if follows else SETTING)
