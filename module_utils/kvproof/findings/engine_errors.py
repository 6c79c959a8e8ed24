# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Finding, Sighting

BROKEN = ("stream", "timeout", "deadline", "json", "connect")


def look(case, attempts):
    for side in case.sides:
        first = side.engine.get("error") or {}
        if side.engine.get("reachable") and (first.get("status") or 0) >= 404:
            yield Sighting(
                side.name,
                "an answer with status 200",
                str(first.get("text")),
                "the API answers, but not as an engine does",
            )
            continue
        mine = [r for r in case.requests() if r.get("engine") == side.role and r.get("role") in ("seed", "reuse")]
        failed = [r["error"] for r in mine if r.get("error")]
        broken = [e for e in failed if (e.get("status") or 0) >= 404 or e.get("kind") in BROKEN]
        if mine and len(broken) == len(mine):
            yield Sighting(
                side.name, "a completion", str(broken[0].get("text")), f"{len(broken)} of {len(mine)} requests failed"
            )


FINDING = Finding(
    slug="engine-errors",
    link=2,
    kind="failure",
    rank=30,
    title="The engine answers with errors",
    meaning="The API is there, but completions fail, so nothing was proven.",
    evidence=(
        "Every completion of a role failed: status 404 or 5xx, a stream cut in the middle, or no "
        "end before the deadline."
    ),
    remedy="Look into the engine's log at the time of the probe; try the same request with curl.",
    source="kvproof",
    look=look,
    covers=("reuse-absent", "experiment-incomplete"),
)
