# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="outcome-unread",
    link=11,
    kind="validity",
    rank=20,
    title="Whether tokens were reused could not be read",
    meaning="The requests were served, but nothing that was read tells how many tokens came from the cache.",
    evidence="Neither cached_tokens in the responses nor the receiver's log nor an idle counter.",
    remedy=(
        "Start the engine with --enable-prompt-tokens-details, or let kvproof read the receiver's log (kv_reuse_log)."
    ),
    source="kvproof",
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    unknown = [a for a in attempts if a.outcome == "unknown"]
    if unknown and not any(a.outcome in ("proven", "unattributed", "missed", "timed-out") for a in attempts):
        yield Sighting(
            case.receiver.name,
            "cached_tokens or a log line",
            f"neither that proves a load, for {len(unknown)} of {len(attempts)} fresh prompts",
            "cached_tokens counts what the lookup promised; without a log line only a sooner first token bears it out",
        )
