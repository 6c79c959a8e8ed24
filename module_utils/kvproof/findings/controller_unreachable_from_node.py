# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Finding, Sighting


def look(case, attempts):
    for side in case.sides:
        failed = [
            d
            for d in side.node.get("dials") or []
            if d.get("why") in ("controller-pull", "controller-reply") and d.get("state") not in ("open", None)
        ]
        if failed:
            yield Sighting(
                side.name,
                "an open port at " + ", ".join(d["to"] for d in failed),
                ", ".join(sorted({d["state"] for d in failed})),
                "this node cannot talk to the controller",
            )


FINDING = Finding(
    slug="controller-unreachable-from-node",
    link=5,
    kind="cause",
    rank=20,
    title="A node cannot reach the controller",
    meaning=(
        "The controller runs, but this node's connection to its pull or reply port fails: the "
        "node can neither announce nor look up."
    ),
    evidence="A dial from the node to controller_pull_url and controller_reply_url.",
    remedy=(
        "Check both URLs in the node's LMCache YAML (host:port, no scheme), the controller's "
        "--host (localhost shuts out other nodes) and the firewall between them."
    ),
    source="LMCache 0.5.6; the controller's --host binds HTTP and ZMQ",
    look=look,
    architectures=("inprocess_p2p",),
    explains=frozenset(["missed", "timed-out"]),
    covers=("not-registered", "lookup-timed-out"),
)
