# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="load-failed",
    link=11,
    kind="failure",
    rank=10,
    title="KV was found but not loaded",
    meaning="The lookup reported a hit, and then nothing was loaded: the engine recomputed, or the request failed.",
    evidence="`LMCache hit tokens` above 0 and `Retrieved 0` for the same requests.",
    remedy=(
        "Look for an LMCache ERROR between these lines; check the CPU pool's size (`under "
        "pressure`) and kv_load_failure_policy."
    ),
    source="LMCache#1055",
    covers=("reuse-absent", "engine-errors", "experiment-incomplete"),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    failed = [a for a in attempts if a.outcome == "load-failed"]
    errors = [r for r in case.requests() if r.get("engine") == "receiver" and r.get("error")]
    lost = [lines for lines in (_lost(case, r) for r in errors) if lines]
    if len(failed) >= 2 and len(failed) == len(attempts):
        yield Sighting(
            case.receiver.name,
            f"Retrieved {failed[0].need} tokens",
            f"Retrieved {failed[0].retrieved}",
            "found at lookup, lost at load",
        )
    elif lost and len(lost) == len(errors):
        yield Sighting(
            case.receiver.name,
            f"Retrieved {lost[0]} tokens",
            f"Retrieved 0, and {len(lost)} requests ended in an error",
            "found at lookup, lost at load; kv_load_failure_policy is fail",
        )


def _lost(case, request: dict) -> int | None:
    """Tokens that a lookup promised to a request that failed, where none of them was loaded."""
    promised = case.receiver.events_of(case.ids(request), "looked_up")
    loaded = case.receiver.events_of(case.ids(request), "retrieved")
    if promised and loaded and not any(e.get("tokens") for e in loaded):
        return promised[-1].get("need") or None
    return None
