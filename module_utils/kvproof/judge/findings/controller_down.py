# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import CERTAIN, HINT, LIKELY, Attempt, Case, Finding, Sighting, Sightings
from ._contacts import dial_strength

FINDING = Finding(
    slug="controller-down",
    link=5,
    kind="cause",
    rank=10,
    title="The LMCache controller is not there",
    meaning="Without the controller no node learns what its peers hold: every lookup runs into its time-out.",
    evidence="No controller process on its host, and nothing answers on its ports.",
    remedy=(
        "Start lmcache_controller (and keep it up); engines that tried to register while it was down must be restarted."
    ),
    source="LMCache 0.5.6; registration is tried once",
    architectures=("inprocess_p2p",),
    explains=frozenset(["missed", "timed-out", "slow"]),
    covers=("controller-unreachable-from-node", "not-registered", "lookup-timed-out"),
)


ANSWERS = ("ok", "error", "not-json")
NOT_ASKED = (None, "unset", "no-tunnel")


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    named = [c for c in case.evidence.get("controllers") or [] if c]
    # the probe asked at its beginning, the nodes were asked after it
    consulted = [c for c in named if _http(c) not in NOT_ASKED] or case.controllers
    dials = [(side, d) for side in case.sides for d in side.node.get("dials") or [] if _to_controller(d)]
    running = any((c.get("process") or {}).get("running") for c in named)
    if running or any(_http(c) in ANSWERS for c in consulted) or any(d.get("state") == "open" for _side, d in dials):
        return
    refused = [c for c in consulted if _http(c) == "refused"]
    gone = [c for c in named if (c.get("process") or {}).get("running") is False]
    if gone:
        yield Sighting(
            gone[0].get("name") or "controller",
            "a controller process on this host",
            "no such process, and no HTTP answer",
            "the controller is not running",
            strength=CERTAIN if refused or dials else LIKELY,  # else it may run on another host
        )
    elif dials and all(d.get("state") == "refused" for _side, d in dials) and (refused or not consulted):
        yield Sighting(
            (refused[0].get("name") if refused else None) or "controller",
            "something that listens at " + ", ".join(sorted({str(d.get("to")) for _side, d in dials})),
            "connection refused, from every node that asked",
            "nothing listens where the engines expect the controller",
            strength=CERTAIN if any(dial_strength(side) == CERTAIN for side, _dial in dials) else HINT,
        )
    elif refused and not dials:
        yield Sighting(
            refused[0].get("name") or "controller",
            "an answer from " + str(refused[0].get("url")),
            "connection refused",
            "nothing listens where the controller should be, seen from here",
            strength=LIKELY,
        )


def _http(controller) -> str | None:
    return (controller.get("http") or {}).get("state")


def _to_controller(dial) -> bool:
    return (dial.get("why") or "").startswith("controller")
