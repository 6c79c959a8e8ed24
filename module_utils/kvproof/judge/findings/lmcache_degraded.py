# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..pasted import Line
from . import CERTAIN, HINT, Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="lmcache-degraded",
    link=3,
    kind="cause",
    rank=10,
    title="LMCache failed to start; the engine runs without it",
    meaning="vLLM answers 200 and recomputes every prompt: LMCache went into degraded mode.",
    evidence=(
        "`operate in degraded mode`, `marked as init failed` or `LMCache is unhealthy` in the "
        "engine's log, or /backends answering 503."
    ),
    remedy="Read the first LMCache ERROR in the engine's log, correct the setting it names, restart the engine.",
    source="LMCache 0.5.6, degraded mode",
    covers=(
        "p2p-port-unreachable",
        "peer-silent",
        "not-registered",
        "p2p-backend-missing",
        "nothing-stored",
        "lookup-timed-out",
        "reuse-absent",
    ),
    cause_class="DEGRADED",
    cannot="Why, unless the error before this line was pasted too.",
    pasted=Line("init_failed", "degraded", "unhealthy"),
)


WORKING = ("responded", "retrieved", "stored", "peer_asked")


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    for side in case.sides:
        lines = side.head("init_failed", "degraded") or [e for e in side.events if e.get("kind") == "unhealthy"]
        one_rank = side.ranks == 1  # of several, one may work beside one that does not
        works = one_rank and any(e.get("kind") in WORKING for e in side.events)
        if lines:
            yield Sighting(
                side.name,
                "LMCache initialised",
                _words(lines[0]),
                "LMCache's initialisation failed and the engine went on without it",
                strength=HINT if works else CERTAIN,
            )
        elif (side.node.get("internal_api") or {}).get("status") == 503 and not (works or side.backends):
            yield Sighting(
                side.name,
                "LMCache's backends listed",
                "the worker's internal API answers 503 for /backends",
                "the cache engine of this worker is not there",
            )


def _words(event) -> str:
    """The line, or of a traceback that it begins the exception, which is what went wrong."""
    line, text = event.get("line") or "", event.get("text") or ""
    exception = "" if text.startswith("Traceback") else text
    return str(exception if "Traceback" in line and exception else line or text or event["kind"])
