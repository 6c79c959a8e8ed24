# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="coordinator-restarted",
    link=5,
    kind="note",
    rank=60,
    title="The coordinator forgot its servers and learned of them again",
    meaning=(
        "Its directory began anew, so it names no server for what was stored before. Peers find that all the same: "
        "they ask each other."
    ),
    evidence="registration_time at the coordinator, against the start of the server.",
    remedy="Nothing, where it was restarted on purpose.",
    source="LMCache 0.5.6 mp_coordinator; seen on real servers",
    architectures=("mp",),
)

LATE_S = 60.0  # a server registers within seconds of its start


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    listed = {i["instance_id"]: i.get("registration_time") for i in case.instances or [] if i.get("instance_id")}
    for side in case.sides:
        began, registered = side.server.get("started_at"), listed.get(side.instance_id)
        if began and registered and registered - began > LATE_S:
            yield Sighting(
                side.name,
                "a server that registered when it started",
                f"registered {registered - began:.0f} s after its start",
                "the coordinator was restarted since, or was not there",
            )
