# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..dialects import dialect_of
from ..output import unread_controls
from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="controls-unread",
    link=6,
    kind="validity",
    rank=55,
    title="A control request could not be read",
    meaning="Without a control that shows no hit, a hit proves little: the server might report hits always.",
    evidence="Lookup line or cached_tokens of the never-seen and the knock-out request.",
    remedy="Start the engine with --enable-prompt-tokens-details, or let kvproof read the receiver's log.",
    source="kvproof",
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    unread = unread_controls(case, attempts, dialect_of(case).never_seen_hit(case))
    if unread:
        yield Sighting(
            case.receiver.name,
            "a readable outcome of the never-seen and of every knock-out request",
            f"none of the {' and the '.join(unread)} control",
            "the control was not sent, failed, or neither cached_tokens nor a log line tells of it",
        )
