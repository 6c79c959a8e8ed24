# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import CERTAIN, LIKELY, Attempt, Case, Finding, Sighting, Sightings
from ._servers import unregistered

FINDING = Finding(
    slug="coordinator-down",
    link=5,
    kind="cause",
    rank=10,
    title="The coordinator does not answer",
    meaning=(
        "Cache servers find their peers by the coordinator. When it goes, their P2P goes with it within seconds: they "
        "still say that they are healthy, and every prompt is recomputed."
    ),
    evidence="p2p_state in the servers' /status, and the coordinator's /healthz or process.",
    remedy="Start the coordinator again. Servers register by themselves, and share what they kept.",
    source="LMCache 0.5.6 mp_coordinator/registrar.py:154, p2p_controller.py:436",
    architectures=("mp",),
    covers=("server-not-registered", "not-announced", "p2p-port-unreachable"),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    gone = [c for c in case.coordinators if (c.get("process") or {}).get("running") is False or _silent(c)]
    lost = unregistered(case)
    up = any(c.get("healthy") for c in case.coordinators)
    if gone and lost and not up:
        seen = (gone[0].get("http") or {}).get("text") or "its process does not run"
        yield Sighting(
            gone[0].get("name") or lost[0].name,
            f"an answer of the coordinator{' at ' + gone[0]['url'] if gone[0].get('url') else ''}",
            seen,
            f"P2P is not registered on the server of {' and '.join(side.name for side in lost)}",
            strength=CERTAIN if len(lost) == 2 else LIKELY,
        )


def _silent(coordinator: dict) -> bool:
    return (coordinator.get("http") or {}).get("state") in ("refused", "timeout", "error")
