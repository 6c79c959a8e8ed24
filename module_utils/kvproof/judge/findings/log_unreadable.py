# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="log-unreadable",
    link=7,
    kind="note",
    rank=90,
    title="The engine's log could not be read",
    meaning="The lines that belong to a request are the strongest witnesses; without them some links stay unknown.",
    evidence="What the node answered when the log was opened.",
    remedy=(
        "Set kv_reuse_log ({file: …}, {unit: …}, {command: […]} or {on_controller: …}) and let the SSH user read it, "
        "or set kv_reuse_become."
    ),
    source="kvproof",
)

_ON_CONTROLLER = (
    "Run what on_controller of kv_reuse_log names as the user that runs the playbook: it has to end in time."
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    for side in case.sides:
        log = side.log
        if log and log.get("state") not in (None, "ok"):
            yield Sighting(
                side.name,
                "a readable log",
                str(log.get("detail") or log.get("state")),
                "evidence by request id is missing on this node",
                _ON_CONTROLLER if log.get("found_by") == "on_controller" else None,
            )
        for log in [reading.get("log") or {} for reading in side.server_readings]:
            if log.get("state") not in (None, "ok"):
                yield Sighting(
                    side.name,
                    "a readable log of its cache server",
                    str(log.get("detail") or log.get("state")),
                    "the server's counters of an idle window stand in for its lines",
                    "Set kv_reuse_mp_log and let the SSH user read it, or set kv_reuse_become.",
                )
