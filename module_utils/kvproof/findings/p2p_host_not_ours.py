# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Finding, Sighting

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


def look(case, attempts):
    for side in case.sides:
        p2p = side.node.get("p2p_host") or {}
        enabled = side.flag("enable_p2p")
        if not p2p.get("value") or (enabled is not None and not enabled.value):
            continue
        if p2p.get("ours") is False:
            yield Sighting(
                side.name, "p2p_host among the node's addresses", f"p2p_host: {p2p['value']}", _reach(case, side)
            )
        elif p2p["value"] in LOOPBACK_NAMES and case.holder.node.get("hostname") != case.receiver.node.get("hostname"):
            yield Sighting(
                side.name,
                "an address that peers can reach",
                f"p2p_host: {p2p['value']}",
                "peers on other hosts would dial themselves",
            )


def _reach(case, side):
    dials = [d for d in case.receiver.node.get("dials") or [] if d.get("why", "").startswith("peer")]
    if side is case.holder and any(d.get("state") == "open" for d in dials):
        return (
            f"but {case.receiver} reaches the advertised port: network address translation or a container, as it seems"
        )
    return "the address belongs to another machine, or to none"


FINDING = Finding(
    slug="p2p-host-not-ours",
    link=4,
    kind="cause",
    rank=40,
    title="p2p_host is not an address of its node",
    meaning=(
        "p2p_host is both bound and advertised. An address that the node does not have cannot be "
        "bound, or makes peers dial another machine. Behind NAT or in a container this can be "
        "right; then the port's answer decides."
    ),
    evidence="p2p_host against the addresses of the node, and a dial from the peer.",
    remedy=("Set p2p_host to an address of this node that its peers can reach (not localhost, not a virtual IP)."),
    source="LMCache 0.5.6; docs of p2p_sharing",
    look=look,
    architectures=("inprocess_p2p",),
    explains=frozenset(["missed", "timed-out"]),
)
