# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses, listening ports and reachability, as far as P2P depends on them."""

from __future__ import annotations

import os

from ...stack import disagg
from .. import config, processes, sockets
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


def pd(node: Node) -> dict | None:
    """NODE.pd: the ports that a receiver of LMCache's prefill/decode transfer takes KV on, and who has them."""
    settings, own = node.settings, node["addresses"]
    host = settings.get("pd_peer_host")
    if node.pid is None or not disagg.is_receiver(settings) or not isinstance(host, str):
        return None
    resolved, ports = sockets.resolve(host) or [], []
    for use, (setting, _field) in disagg.PORTS.items():
        for port in disagg.ports_of(settings.get(setting)):
            try:
                listeners = processes.at_host(node.listening.at([port], node.pid), resolved, own)
                held = processes.holder(node.proc, node.pid, [listener.inode for listener in listeners])
            except OSError:
                held = None
            ports.append({"use": use, "port": port, "held": held})
    ours = any(sockets.is_ours(address, own) for address in resolved) if resolved and own else None
    return {"host_ours": ours, "ports": ports}


def listening(node: Node) -> list[dict]:
    """Those of the ports that the engine and its LMCache should have."""
    return node.listening.listed([node.options["port"], *config.p2p_ports(node.settings)], node.pid)


def dials(node: Node) -> list[dict]:
    """Everything whose reachability this node's part in P2P depends on."""
    targets = [(peer["to"], peer["why"]) for peer in node.options["peers"]]
    if node.options["only"] == ["dials"]:  # of what was given alone: nothing else is read
        return sockets.dial_all(targets, node.options["dial_timeout"])
    for event in node["log"]["events"]:  # whom the controller named, and whom the engine met
        targets.append((event.get("peer") if event["kind"] == "layout" else None, "peer-from-log"))
        targets.append((event["lookup"] if event["kind"] == "peer_connected" else None, "peer-from-log"))
    targets.append((node.settings.get("controller_pull_url"), "controller-pull"))
    targets.append((node.settings.get("controller_reply_url"), "controller-reply"))
    targets.append((node.options["controller_url"], "controller-http"))
    bare = [(str(to).split("://", 1)[-1].rstrip("/"), why) for to, why in targets if to]
    return sockets.dial_all(bare, node.options["dial_timeout"])
