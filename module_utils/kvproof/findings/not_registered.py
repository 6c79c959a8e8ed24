# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Finding, Sighting


def look(case, attempts):
    for side in case.sides:
        failed = side.head("register_failed")
        listed = _listed(case, side)
        if listed is False or (failed and listed is None):
            observed = (
                str(failed[-1].get("line")) if failed else f"{len(case.workers or [])} workers listed, not this one"
            )
            yield Sighting(
                side.name,
                f"{side.instance_id or 'its instance'} among the controller's workers",
                observed,
                "the controller does not know this node",
            )


def _listed(case, side):
    """True, False, or None where nobody can tell."""
    if case.workers is None:
        return None
    if side.instance_id:
        return any(w.get("instance_id") == side.instance_id for w in case.workers)
    host = (side.node.get("p2p_host") or {}).get("value")
    if host:
        return any(
            (w.get("peer_init_url") or "").rsplit(":", 1)[0] == host or w.get("ip") == host for w in case.workers
        )
    return False if not case.workers else None


FINDING = Finding(
    slug="not-registered",
    link=5,
    kind="cause",
    rank=40,
    title="A node is not registered at the controller",
    meaning=(
        "The controller does not know this engine, so nobody is told what it holds, and its "
        "lookups go unanswered. Registration is tried once, at start."
    ),
    evidence=(
        "/controller/workers against the node's instance id and address; `Failed to register with "
        "controller` in the log."
    ),
    remedy=(
        "Check enable_controller and the controller URLs on this node, then restart the engine "
        "while the controller is up."
    ),
    source="LMCache 0.5.6 worker.py",
    look=look,
    architectures=("inprocess_p2p",),
    explains=frozenset(["missed", "timed-out"]),
    covers=("registered-elsewhere",),
)
