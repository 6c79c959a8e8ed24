# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..pasted import Line
from . import HINT, LIKELY, Attempt, Case, Finding, Sighting, Sightings
from ._contacts import dial_strength, reached_controller

FINDING = Finding(
    slug="controller-unreachable-from-node",
    link=5,
    kind="cause",
    rank=20,
    title="A node cannot reach the controller",
    meaning=(
        "This node's connection to the controller's pull or reply port fails, or is not answered: the node can neither "
        "announce nor look up."
    ),
    evidence="A dial from the node to controller_pull_url and controller_reply_url.",
    remedy=(
        "Check both URLs in the node's LMCache YAML (host:port, no scheme), the controller's "
        "--host (localhost shuts out other nodes) and the firewall between them."
    ),
    source="LMCache 0.5.6; the controller's --host binds HTTP and ZMQ",
    architectures=("inprocess_p2p",),
    explains=frozenset(["missed", "timed-out", "slow"]),
    covers=("not-registered", "not-announced", "lookup-timed-out"),
    cause_class="CTRL_PORT",
    cannot="Whether the controller is gone, restarting, or slow.",
    pasted=Line("controller_timed_out", strength=HINT),
)


SHUT = ("refused", "timeout", "unreachable")


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    for side in case.sides:
        dials = [d for d in side.node.get("dials") or [] if d.get("why") in ("controller-pull", "controller-reply")]
        failed = [d for d in dials if d.get("state") not in ("open", None)]
        if failed:
            known = dial_strength(side) if all(d["state"] in SHUT for d in failed) else LIKELY
            works = reached_controller(case, side, attempts)
            yield Sighting(
                side.name,
                "an open port at " + ", ".join(str(d.get("to")) for d in failed),
                ", ".join(sorted({d["state"] for d in failed})),
                "but this run shows that it does" if works else "this node cannot talk to the controller",
                strength=HINT if works else known,
            )
