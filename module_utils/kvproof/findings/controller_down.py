# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Finding, Sighting


def look(case, attempts):
    gone = [c for c in case.evidence.get("controllers") or [] if c and (c.get("process") or {}).get("running") is False]
    for controller in gone:
        if not _answers(case):
            yield Sighting(
                controller.get("name") or "controller",
                "a controller process that listens",
                "no controller process on this host",
                "the controller is not running",
            )
    if gone or _answers(case):
        return
    dials = [
        (side, d)
        for side in case.sides
        for d in side.node.get("dials") or []
        if d.get("why", "").startswith("controller")
    ]
    refused = [(side, d) for side, d in dials if d.get("state") == "refused"]
    http = [c for c in case.controllers if (c.get("http") or {}).get("state") == "refused"]
    if dials and len(refused) == len(dials) and (http or not case.controllers):
        where = ", ".join(sorted({d["to"] for _, d in refused}))
        yield Sighting(
            "controller",
            "something that listens at " + where,
            "connection refused, from every node that asked",
            "nothing listens where the engines expect the controller",
        )
    elif http and not dials and not any((c.get("process") or {}).get("running") for c in case.controllers):
        yield Sighting(
            http[0].get("name") or "controller",
            "an answer from " + str(http[0].get("url")),
            "connection refused",
            "nothing listens where the controller should be",
        )


def _answers(case):
    """Somebody reached the controller: over HTTP, or a node over the ports that LMCache uses."""
    if any((c.get("http") or {}).get("state") in ("ok", "error", "not-json") for c in case.controllers):
        return True
    return any(
        d.get("state") == "open"
        for side in case.sides
        for d in side.node.get("dials") or []
        if d.get("why", "").startswith("controller")
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
    explains=frozenset(["missed", "timed-out"]),
    covers=("controller-unreachable-from-node", "not-registered", "lookup-timed-out", "controller-unseen"),
)
