# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import CERTAIN, HINT, Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="remote-store-down",
    link=7,
    kind="cause",
    rank=15,
    title="The shared store does not answer the engine",
    meaning=(
        "LMCache goes on without the store behind remote_url: it warns in its log, keeps chunks in its own memory "
        "alone, and finds none of another engine's there."
    ),
    evidence="`Remote connection failed`, `Connection is None` or `Put task failed` in an engine's log in the run.",
    remedy="Start the store, and see that this node reaches remote_url's host and port with the right credentials.",
    source="LMCache 0.5.6 v1/storage_backend/remote_backend.py:160, :184, :220",
    architectures=("inprocess_p2p",),
    covers=("reuse-absent", "nothing-stored"),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    for side in case.sides:
        lost = [event for event in side.events if event.get("kind") == "store_lost"]
        if lost:
            yield Sighting(
                side.name,
                "an answer of the store behind remote_url",
                str(lost[-1].get("text")),
                f"{len(lost)} such lines while this run was served",
                strength=CERTAIN if case.source == "any" else HINT,  # a peer is asked without it
            )
