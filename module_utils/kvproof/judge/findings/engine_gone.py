# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="engine-gone",
    link=2,
    kind="failure",
    rank=20,
    title="The engine could no longer be reached in the middle of the run",
    meaning=(
        "It answered at first; then a request was broken off or refused, no later one was answered, and in the end no "
        "connection to it could be made: it ended, or the way to it was cut."
    ),
    evidence="The errors of completions, and that of the closing look at the same engine's /metrics.",
    remedy=(
        "Look at the end of the engine's log and at what ended it (systemctl status, dmesg), and start it again; where "
        "it still runs, look at the network between."
    ),
    source="kvproof",
    covers=(
        "engine-errors",
        "experiment-incomplete",
        "controls-unread",
        "reuse-absent",
        "reuse-intermittent",
        "reuse-unattributed",
        "output-unclear",
        "lookup-timed-out",
        "peer-silent",
        "p2p-port-unreachable",
        "metrics-missing",
        "log-unreadable",
    ),
)

BROKEN = ("connect", "stream")


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    for side in case.sides:
        pages = side.engine.get("metrics") or {}
        before, after = pages.get("before") or {}, pages.get("after") or {}
        if before.get("state") != "ok" or (after.get("error") or {}).get("kind") != "connect":
            continue
        mine = [request for request in case.requests() if request.get("engine") == side.role]
        broken = [request for request in mine if (request.get("error") or {}).get("kind") in BROKEN]
        if broken and not _answered_after(min(_sent_at(request) for request in broken), mine):
            yield Sighting(
                side.name,
                "answers until the end of the run",
                f"{broken[0]['error'].get('text')}; then none from /metrics: {after['error'].get('text')}",
                f"{len(mine) - len(broken)} of its {len(mine)} requests were answered before",
            )


def _answered_after(moment: float, requests: list[dict]) -> bool:
    return any(not request.get("error") and _sent_at(request) > moment for request in requests)


def _sent_at(request: dict) -> float:
    return request.get("sent_at") or 0.0
