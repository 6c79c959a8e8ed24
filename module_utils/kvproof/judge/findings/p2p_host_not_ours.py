# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ...stack.settings import LOOPBACK
from ..pasted import SETTING, Sign
from . import CERTAIN, HINT, LIKELY, Attempt, Case, Finding, Sighting, Sightings
from ._contacts import reached_holder

FINDING = Finding(
    slug="p2p-host-not-ours",
    link=4,
    kind="cause",
    rank=40,
    title="p2p_host is not an address of its node",
    meaning=(
        "p2p_host is both bound and advertised. An address that the node does not have cannot be bound, or makes "
        "peers dial another machine. Behind NAT or in a container this can be right; then the port's answer decides. "
        "A peer that is given localhost or 0.0.0.0 dials itself. The same holds for pd_peer_host and, with "
        "localhost, for the controller's URLs."
    ),
    evidence="p2p_host against the addresses of the node, and a dial from the peer.",
    remedy=("Set p2p_host to an address of this node that its peers can reach (not localhost, not a virtual IP)."),
    source="LMCache 0.5.6; docs of p2p_sharing",
    architectures=("inprocess_p2p",),
    explains=frozenset(["missed", "timed-out", "slow"]),
    covers=("p2p-bind-failed", "p2p-port-unreachable", "peer-silent", "lookup-timed-out"),
    cause_class="BIND_HOST",
    cannot="Whether the nodes are on one machine, where localhost is right, and whether a peer ever tried.",
)

# Hosts that a node tells its peers as they are set, and where it looks for the controller.
ADVERTISED = ("p2p_host", "pd_peer_host", "nixl_receiver_host", "nixl_peer_host")
CONTROLLER_URLS = ("controller_pull_url", "controller_reply_url")


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    hosts = [side.node.get("hostname") for side in case.sides]
    apart = None not in hosts and hosts[0] != hosts[1]
    works = reached_holder(case, attempts)
    for side in case.sides:
        p2p, enabled = side.node.get("p2p_host") or {}, side.flag("enable_p2p")
        if not p2p.get("value") or (enabled is not None and not enabled.value):
            continue
        if p2p.get("ours") is False:
            reason, known = _reach(case, side)
            yield Sighting(
                side.name,
                "p2p_host among the node's addresses",
                f"p2p_host: {p2p['value']}",
                reason,
                strength=HINT if works else known,
            )
        elif p2p["value"] in LOOPBACK and apart:
            yield Sighting(
                side.name,
                "an address that peers can reach",
                f"p2p_host: {p2p['value']}",
                "peers on other hosts would dial themselves",
                strength=HINT if works else CERTAIN,
            )


def _reach(case, side) -> tuple[str, str]:
    """What the dial of its peer says of an address that is not among the node's, and how sure that is."""
    peer = case.receiver if side is case.holder else case.holder
    host = side.node["p2p_host"]["value"]
    dials = [d for d in peer.node.get("dials") or [] if (d.get("to") or "").rpartition(":")[0] == host]
    crashed = [*side.head("handler_crashed"), *(e for e in side.events if e.get("kind") == "handler_crashed")]
    if any("Cannot assign requested address" in str(e.get("text")) for e in crashed):
        return "the engine could not bind it", CERTAIN
    if any(d.get("state") == "open" for d in dials):
        return f"but {peer} reaches it: network address translation or a container, as it seems", HINT
    if (side.node.get("engine") or {}).get("other_namespace"):
        return "the engine has a network of its own, as it seems, so this may be right", HINT
    return "the address belongs to another machine, or to none", CERTAIN if dials else LIKELY


def pasted(material):
    for node in material.nodes:
        for key in (*ADVERTISED, *CONTROLLER_URLS):
            values = node.values(key)
            if key in ADVERTISED and values in (["0.0.0.0"], ["::"]):
                yield Sign(node.role, f"{key}: {values[0]}", SETTING)
            for value in values:
                if str(value).startswith(("localhost", "127.")):
                    yield Sign(node.role, f"{key}: {value}", HINT)
