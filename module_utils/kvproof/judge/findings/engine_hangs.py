# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="engine-hangs",
    link=2,
    kind="failure",
    rank=20,
    title="The engine stopped answering in the middle of the run",
    meaning=(
        "A request got no further byte until its time was over, and afterwards the engine's own pages did not answer "
        "either: it hangs, or is stopped."
    ),
    evidence="The time-out of a completion, and that of the closing look at the same engine's /metrics.",
    remedy="Look at the engine's process (ps: state T is stopped, D waits for a device) and its log, and restart it.",
    source="kvproof",
    covers=(
        "engine-errors",
        "experiment-incomplete",
        "reuse-absent",
        "metrics-missing",
        "transfer-hangs",
        "peer-silent",
    ),
)

SILENT_S = 5.0


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    for side in case.sides:
        pages = side.engine.get("metrics") or {}
        before, after = pages.get("before") or {}, pages.get("after") or {}
        if before.get("state") != "ok" or (after.get("error") or {}).get("kind") != "timeout":
            continue
        late = [r for r in case.requests() if r.get("engine") == side.role and _kind(r) in ("timeout", "deadline")]
        silences = [silence for silence in map(_silence, late) if silence >= SILENT_S]
        if silences:
            yield Sighting(
                side.name,
                "answers until the end of the run",
                f"no byte for {max(silences):.0f} s in the middle of a completion, then none from /metrics",
                "the engine answered before, and then nothing",
            )


def _kind(request: dict) -> str | None:
    return (request.get("error") or {}).get("kind")


def _silence(request: dict) -> float:
    """Seconds from the last token, or from the request where none came, to its end."""
    gaps = request.get("itl_s") or {}
    return (
        (request.get("total_s") or 0.0)
        - (request.get("ttft_s") or 0.0)
        - (gaps.get("n") or 0) * (gaps.get("mean") or 0)
    )
