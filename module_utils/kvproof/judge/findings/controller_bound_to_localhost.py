# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ...stack.settings import LOOPBACK
from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="controller-bound-to-localhost",
    link=5,
    kind="cause",
    rank=5,
    title="The controller listens on localhost alone",
    meaning=(
        "The controller's --host binds its HTTP and its ZeroMQ ports alike. On its own host everything answers; no "
        "engine on another host can register or look up."
    ),
    evidence="Listening sockets of the controller's process, and dials from the nodes to the controller URLs.",
    remedy="Start lmcache_controller with --host 0.0.0.0, or with the address in controller_pull_url; restart engines.",
    source="LMCache 0.5.6; --host of lmcache_controller",
    architectures=("inprocess_p2p",),
    explains=frozenset(["missed", "timed-out", "slow"]),
    covers=(
        "controller-down",
        "controller-unreachable-from-node",
        "not-registered",
        "not-announced",
        "lookup-timed-out",
    ),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    failed = [d for side in case.sides for d in side.node.get("dials") or [] if _to_elsewhere(d)]
    for controller in [c for c in case.evidence.get("controllers") or [] if c]:
        bound = _bound(controller)
        running = (controller.get("process") or {}).get("running")
        if running and bound and bound <= set(LOOPBACK) and failed and all(d["state"] != "open" for d in failed):
            yield Sighting(
                controller.get("name") or "controller",
                "a controller that listens at " + ", ".join(sorted({str(d.get("to")) for d in failed})),
                "it listens at " + ", ".join(sorted(bound)) + " alone",
                "no other node can reach it",
            )


def _bound(controller) -> set:
    """Where it was told to listen; without its command line, where its ports are open on that host."""
    host = (controller.get("options") or {}).get("host")
    return {host} if host else {place.get("address") for place in controller.get("listening") or []}


def _to_elsewhere(dial) -> bool:
    host = str(dial.get("to") or "").rpartition(":")[0]
    return dial.get("why") in ("controller-pull", "controller-reply") and host not in LOOPBACK
