# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Finding, Sighting


def look(case, attempts):
    if any((c.get("http") or {}).get("state") in ("ok", "error", "not-json") for c in case.controllers):
        return
    for controller in case.evidence.get("controllers") or []:
        if controller and (controller.get("process") or {}).get("running") is False:
            yield Sighting(
                controller.get("name") or "controller",
                "a controller process on this host",
                "no such process, and no HTTP answer",
                "the controller is not running",
            )
            return
    yield from _nothing_listens(case)


def _nothing_listens(case):
    """Without a look at the controller's host: everybody who asked was refused."""
    dials = [
        d for side in case.sides for d in side.node.get("dials") or [] if d.get("why", "").startswith("controller")
    ]
    refused = [c for c in case.controllers if (c.get("http") or {}).get("state") == "refused"]
    running = any((c.get("process") or {}).get("running") for c in case.controllers)
    if running or any(d.get("state") != "refused" for d in dials) or not (dials or refused):
        return
    if dials and (refused or not case.controllers):
        where = ", ".join(sorted({d["to"] for d in dials}))
        yield Sighting(
            "controller",
            "something that listens at " + where,
            "connection refused, from every node that asked",
            "nothing listens where the engines expect the controller",
        )
    elif refused and not dials:
        yield Sighting(
            refused[0].get("name") or "controller",
            "an answer from " + str(refused[0].get("url")),
            "connection refused",
            "nothing listens where the controller should be",
        )


FINDING = Finding(
    slug="controller-down",
    link=5,
    kind="cause",
    rank=10,
    title="The LMCache controller is not there",
    meaning=("Without the controller no node learns what its peers hold: every lookup runs into its time-out."),
    evidence="No controller process on its host, and nothing answers on its ports.",
    remedy=(
        "Start lmcache_controller (and keep it up); engines that tried to register while it was down must be restarted."
    ),
    source="LMCache 0.5.6; registration is tried once",
    look=look,
    architectures=("inprocess_p2p",),
    explains=frozenset(["missed", "timed-out"]),
    covers=("controller-unreachable-from-node", "not-registered", "lookup-timed-out", "controller-unseen"),
)
