# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..dialects import never_seen_hit
from . import Finding, Sighting


def look(case, attempts):
    if (
        any(a.outcome == "proven" for a in attempts)
        and never_seen_hit(case) is None
        and all(a.control_hits.get("knockout") is None for a in attempts)
    ):
        yield Sighting(
            case.receiver.name,
            "a control request with a readable outcome",
            "neither cached_tokens nor a log line",
            "the controls could not be read",
        )


FINDING = Finding(
    slug="controls-unread",
    link=6,
    kind="validity",
    rank=55,
    title="No control request could be read",
    meaning=("Without a control that shows no hit, a hit proves little: the server might report hits always."),
    evidence="Lookup line or cached_tokens of the never-seen and the knock-out request.",
    remedy=("Start the engine with --enable-prompt-tokens-details, or let kvproof read the receiver's log."),
    source="kvproof",
    look=look,
)
