# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses, listening ports and reachability, as far as P2P depends on them."""

from __future__ import annotations

import os

from .. import config, sockets
from ..context import Node


def addresses(node: Node) -> list[str]:
    """Of the engine's network namespace; none where that may be one which was not recognised."""
    if node.pid is None and node.others:
        return []
    return sockets.addresses(os.path.join(node.proc, str(node.pid)) if node.pid else node.proc)


def p2p_host(node: Node) -> dict:
    """Whether the address that this engine binds and advertises is one of its own."""
    value, own = node.settings.get("p2p_host"), node["addresses"]
    if not isinstance(value, str) or not value:
        return {"value": None, "resolved": [], "ours": None}
    resolved = sockets.resolve(value)
    ours = any(sockets.is_ours(address, own) for address in resolved) if resolved and own else None
    return {"value": value, "resolved": resolved or [], "ours": ours}


def listening(node: Node) -> list[dict]:
    """Those of the ports that the engine and its LMCache should have."""
    return node.listening.listed([node.options["port"], *config.p2p_ports(node.settings)], node.pid)


def dials(node: Node) -> list[dict]:
    """Everything whose reachability this node's part in P2P depends on."""
    targets = [(peer["to"], peer["why"]) for peer in node.options["peers"]]
    for event in node["log"]["events"]:  # whom the controller named, and whom the engine met
        targets.append((event.get("peer") if event["kind"] == "layout" else None, "peer-from-log"))
        targets.append((event["lookup"] if event["kind"] == "peer_connected" else None, "peer-from-log"))
    targets.append((node.settings.get("controller_pull_url"), "controller-pull"))
    targets.append((node.settings.get("controller_reply_url"), "controller-reply"))
    targets.append((node.options["controller_url"], "controller-http"))
    bare = [(str(to).split("://", 1)[-1].rstrip("/"), why) for to, why in targets if to]
    return sockets.dial_all(bare, node.options["dial_timeout"])
