# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="engine-errors",
    link=2,
    kind="failure",
    rank=30,
    title="The engine answers with errors",
    meaning="The API is there, but completions fail, so nothing was proven.",
    evidence=(
        "Every completion of a role failed: status 404 or 5xx, a stream cut in the middle, or no "
        "answer at all before the deadline."
    ),
    remedy="Look into the engine's log at the time of the probe; try the same request with curl.",
    source="kvproof",
    covers=("reuse-absent", "experiment-incomplete"),
)


ALWAYS = ("stream", "json", "connect")  # these say that the engine failed; time-outs may be a slow one
LATE = ("timeout", "deadline")
LEAST_S = 1.0  # an engine had so much time at least, where the deadline ended a request


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    for side in case.sides:
        done = [r for r in case.requests() if r.get("engine") == side.role]
        failed = [r["error"] for r in done if r.get("error")]
        answered = len(failed) < len(done)
        work = [r for r in done if r.get("role") in ("seed", "reuse")] or done
        broken = [r["error"] for r in work if r.get("error") and _broken(r, answered)]
        first = side.engine.get("error") or {}
        if work and len(broken) == len(work):
            yield Sighting(
                side.name, "a completion", str(broken[0].get("text")), f"{len(broken)} of {len(work)} requests failed"
            )
        elif not (answered or side.engine.get("model")) and (first.get("kind") in ALWAYS or _refused(first)):
            yield Sighting(
                side.name,
                "an answer with status 200",
                str(first.get("text")),
                "the API answers, but not as an engine does",
            )


def _broken(request: dict, answered: bool) -> bool:
    error = request["error"]
    late = error.get("kind") in LATE and (request.get("total_s") or 0) >= LEAST_S
    return _refused(error) or error.get("kind") in ALWAYS or (late and not answered)


def _refused(error: dict) -> bool:
    """404 and 5xx; 429 is a limit of the probe's rate and 401 and 403 are a matter of its key."""
    return (error.get("status") or 0) >= 404 and error.get("status") != 429
