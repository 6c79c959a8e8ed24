# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Finding, Sighting


def look(case, attempts):
    lost = [a for a in attempts if a.outcome in ("missed", "load-failed", "error")]
    if len(attempts) == 1 and attempts[0].outcome == "missed":
        yield Sighting(
            case.receiver.name,
            "the fresh prompt reused",
            "it was recomputed",
            "one trial cannot tell chance from fault",
        )
    elif (
        lost
        and len(lost) < len(attempts)
        and any(a.outcome in ("proven", "unattributed", "timed-out") for a in attempts)
    ):
        yield Sighting(
            case.receiver.name,
            "every fresh prompt reused",
            f"{len(lost)} of {len(attempts)} not",
            "the reason is not the lookup time-out alone",
        )


FINDING = Finding(
    slug="reuse-intermittent",
    link=9,
    kind="validity",
    rank=60,
    title="Some prompts were reused, some were not",
    meaning=(
        "Of fresh prompts sent under the same conditions some were reused and some recomputed without a time-out."
    ),
    evidence="Outcomes of the trials.",
    remedy=(
        "Run with more kv_reuse_trials; look at the receiver's log of the lost ones, and at the size of the CPU pools."
    ),
    source="kvproof",
    look=look,
)
