# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="log-without-this-run",
    link=7,
    kind="note",
    rank=92,
    title="The log that was read does not show this run",
    meaning=(
        "The log is readable and has LMCache's lines, but none of the probe's requests: it is another engine's, "
        "another file, or it was rotated away."
    ),
    evidence="The ids of this run were not found in what was searched.",
    remedy="Point kv_reuse_log at the log of the engine behind kv_reuse_url.",
    source="kvproof",
    architectures=("inprocess_p2p",),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    for side in case.sides:
        sent = [case.ids(r) for r in case.requests() if r.get("engine") == side.role]
        talks = side.log_readable and (side.log.get("levels") or {}).get("INFO")
        if talks and any(sent) and not any(side.events_of(ids) for ids in sent):
            yield Sighting(
                side.name,
                "lines with this run's request ids",
                "none in what was searched",
                "this is the log of another engine, or it rotated away, or a proxy rewrites the ids",
            )
