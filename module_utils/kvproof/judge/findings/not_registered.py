# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..pasted import Line
from . import CERTAIN, LIKELY, Attempt, Case, Finding, Sighting, Sightings
from ._contacts import reached_controller

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
    source="LMCache 0.5.6 cache_controller/worker.py:227",
    architectures=("inprocess_p2p",),
    explains=frozenset(["missed", "timed-out", "slow"]),
    covers=("registered-elsewhere", "not-announced"),
    cause_class="CTRL_PORT",
    cannot="Whether the controller was not running, listens elsewhere, or is kept away by the network.",
    pasted=Line("register_failed"),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    for side in case.sides:
        failed, listed = side.head("register_failed"), _listed(case, side)
        if reached_controller(case, side, attempts) or not (listed is False or (failed and listed is None)):
            continue
        known = failed or (side.identity and side.identity.certain and not _asked_another(case, side))
        yield Sighting(
            side.name,
            f"{side.instance_id or 'its instance'} among the controller's workers",
            str(failed[-1].get("line"))
            if failed
            else f"{len(case.workers or [])} workers listed at {_urls(case)}, not this one",
            "the controller does not know this node",
            strength=CERTAIN if known or not case.workers else LIKELY,
        )


def _listed(case, side):
    """True, False, or None where nobody can tell."""
    if case.workers is None or not all(w.get("instance_id") for w in case.workers):
        return None
    if side.instance_id:
        return any(w["instance_id"] == side.instance_id for w in case.workers)
    host = (side.node.get("p2p_host") or {}).get("value")
    if host:
        return any(
            (w.get("peer_init_url") or "").rpartition(":")[0] == host or w.get("ip") == host for w in case.workers
        )
    return False if not case.workers else None


def _asked_another(case, side) -> bool:
    """Whether the workers may be those of another controller: asked at another address than the engine uses."""
    pull = side.setting("controller_pull_url")
    host = str(pull.value).rpartition(":")[0] if pull and pull.value else None
    return bool(host) and f"//{host}:" not in _urls(case)


def _urls(case) -> str:
    return ", ".join(str(c.get("url")) for c in case.controllers if c.get("workers") is not None) or "the controller"
