# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Finding, Sighting


def look(case, attempts):
    for side in case.sides:
        host, ports = side.setting("p2p_host"), side.setting("p2p_init_ports")
        mine = [
            w
            for w in case.workers or []
            if side.instance_id and w.get("instance_id") == side.instance_id and w.get("peer_init_url")
        ]
        if not mine or not host or not host.value or not ports or ports.value is None:
            continue
        listed = ports.value if isinstance(ports.value, (list, tuple)) else [ports.value]
        own = {f"{host.value}:{port}" for port in listed}
        stale = [w["peer_init_url"] for w in mine if w["peer_init_url"] not in own]
        if len(stale) == len(mine):
            yield Sighting(
                side.name,
                " or ".join(sorted(own)),
                ", ".join(stale) + " at the controller",
                "peers are sent to an address that this engine does not use",
            )


FINDING = Finding(
    slug="registered-elsewhere",
    link=5,
    kind="cause",
    rank=45,
    title="The controller has an old address of this node",
    meaning=(
        "A restarted engine with the same instance id keeps the address of its first "
        "registration; peers dial where nobody is."
    ),
    evidence="peer_init_url at the controller against p2p_host and p2p_init_ports of the node.",
    remedy=("Restart the controller and then the engines, or give the engine a new lmcache_instance_id."),
    source="LMCache 0.5.6; `already registered, skip registration`",
    look=look,
    architectures=("inprocess_p2p",),
    explains=frozenset(["missed", "timed-out"]),
)
