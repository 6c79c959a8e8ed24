# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""LMCache's multiprocess (MP) mode: a coordinator, a cache server on each node, and engines that leave their KV to it.

Each process is a unit of its own: a server that is started with other options leaves the engines up.  Its engine has to
notice that it was away, or it would not register again, and hang.  What binds an address binds its node's own, so all
nodes use LMCache's usual ports.
"""

from __future__ import annotations

from typing import Any

from . import engine, healthy
from .fault import Fault, applied, changes
from .lab import BASE_ENVIRONMENT, Lab, Node

SERVER_PORT, HTTP_PORT, PROMETHEUS_PORT, P2P_PORT = 5555, 8080, 9090, 8200
HEARTBEAT_S = 2  # of a server
ENGINE_HEARTBEAT_S = 5.0
AWAY_S = 2 * ENGINE_HEARTBEAT_S + 1.0  # an engine has noticed, and peers have forgotten, a server that was away so long
ENGINE_REGISTERED = "Registered non-GPU context for instance"
REGISTERED = "Registered with coordinator as"
PEER_ADDED = "Added L2 adapter"  # logged by a server for each peer that it has found


def processes(lab: Lab, fault: Fault, edited: bool) -> list[dict[str, Any]]:
    """Specs of the coordinator, the cache servers and the engines.  edited: whether the fault's ``edit`` is done."""
    name, port = lab.controller.name, lab.controller.port
    coordinators = [] if fault.get("no_controller") else [_coordinator(lab, fault, name, port)]
    if fault.get("other_coordinator"):
        coordinators.append(_coordinator(lab, fault, f"{name}-other", port + 1))
    servers = [_server(lab, fault, node, edited) for node in lab.nodes]
    return [*coordinators, *servers, *(_engine(lab, fault, node) for node in lab.nodes)]


def coordinator_url(lab: Lab) -> str:
    return f"http://{lab.controller.address}:{lab.controller.port}"


def _environment(lab: Lab, home: Any) -> dict[str, str]:
    """Of a process of LMCache alone."""
    return {
        **BASE_ENVIRONMENT,
        **healthy.CONTROLLER_ENVIRONMENT,
        "HOME": str(home),
        "UCX_TLS": "tcp",
        "UCX_NET_DEVICES": "lo",
        "OMP_NUM_THREADS": "1",
        "TORCHDYNAMO_DISABLE": "1",
        "LAB_NIXL": lab.nixl,
    }


def _member(lab: Lab, node: str, name: str, argv: list[str], **more: Any) -> dict[str, Any]:
    """Spec of a process of LMCache, with a home of its own on this node."""
    home = lab.home(node) / f"{name}-home"
    usual = {
        "unit": name,
        "cwd": str(home),
        "user": lab.engine_user or None,
        "log_mode": lab.log_mode,
        "fresh_dirs": [str(home)],
    }
    return lab.process(name, argv, **{**usual, "env": _environment(lab, home), **more})


def _coordinator(lab: Lab, fault: Fault, name: str, port: int) -> dict[str, Any]:
    host, url = lab.controller.address, f"http://{lab.controller.address}:{port}"
    registered = [f"Registered instance {instance} " for instance in _registering(lab, fault, url)]
    options = {"host": host, "port": port, "chunk-size": lab.chunk_size, **(fault.get("coordinator") or {})}
    return _member(
        lab,
        lab.controller.name,
        name,
        [*lab.stack.lmcache, "coordinator", *healthy.words(options)],
        ports=[f"{host}:{port}"],
        ready_urls=[f"{url}/healthz"],
        ready_log=registered,
        restarted_log=registered,
        watch=lab.stack.sources,
    )


def _registering(lab: Lab, fault: Fault, url: str) -> list[str]:
    """Instance ids of the servers that register at a coordinator."""
    options = [server_options(lab, fault, node) for node in lab.nodes]
    return [its["instance-id"] for its in options if its.get("coordinator-url") == url]


def server_options(lab: Lab, fault: Fault, node: Node) -> dict[str, Any]:
    """Of ``lmcache server``, by name without dashes; what is None is not given."""
    usual = {
        "instance-id": node.name,
        "host": node.address,
        "port": SERVER_PORT,
        "http-host": node.address,
        "http-port": HTTP_PORT,
        "prometheus-port": PROMETHEUS_PORT,
        "chunk-size": lab.chunk_size,
        "l1-size-gb": 1,
        "l1-use-lazy": False,
        "eviction-policy": "LRU",
        "supported-transfer-mode": "auto",
        "coordinator-url": coordinator_url(lab),
        "coordinator-advertise-ip": node.address,
        "coordinator-event-reporting": True,
        "coordinator-heartbeat-interval": HEARTBEAT_S,
        "p2p-advertise-url": f"{node.address}:{P2P_PORT}",
    }
    return applied(usual, changes(fault, node.role)["server"])


def _server(lab: Lab, fault: Fault, node: Node, edited: bool) -> dict[str, Any]:
    options, edit = server_options(lab, fault, node), fault.get("edit") or {}
    if edited and edit["role"] == node.role:
        options = applied(options, {edit["key"]: edit["value"]})
    held = (fault.get("listen") or {}).get("silent", [])  # by an obstacle
    ports = [f"{node.address}:{options['port']}", f"{node.address}:{options['http-port']}"]
    meets = options.get("coordinator-url") and not fault.get("no_controller")
    ready = [PEER_ADDED] if _peers(lab, fault) else [REGISTERED] if meets else []
    if changes(fault, node.role)["connector"] == {}:
        ready.append(ENGINE_REGISTERED)
    return _member(
        lab,
        node.name,
        f"{node.name}-server",
        [*lab.stack.lmcache, "server", *healthy.words(options)],
        ports=[port for port in ports if port not in held],
        ready_urls=[f"http://{node.address}:{options['http-port']}/healthcheck"],
        ready_log=ready,
        pause=AWAY_S,
        watch=lab.stack.sources,
    )


def _peers(lab: Lab, fault: Fault) -> bool:
    """Whether the servers are expected to find each other at once: nothing is changed of where they meet."""
    healthy_ones = [server_options(lab, {}, node) for node in lab.nodes]
    now = [server_options(lab, fault, node) for node in lab.nodes]
    meeting = ("coordinator-url", "coordinator-advertise-ip", "p2p-advertise-url", "host", "port", "instance-id")
    changed = any(one.get(key) != other.get(key) for one, other in zip(healthy_ones, now) for key in meeting)
    return not changed and not fault.get("no_controller")


def _engine(lab: Lab, fault: Fault, node: Node) -> dict[str, Any]:
    server = {"lmcache.mp.host": f"tcp://{node.address}", "lmcache.mp.port": SERVER_PORT}
    server["lmcache.mp.heartbeat_interval"] = ENGINE_HEARTBEAT_S
    return engine.spec(
        lab,
        fault,
        node,
        connector={"kv_connector": "LMCacheMPConnector", "kv_role": "kv_both", "kv_connector_extra_config": server},
        # MP mode has its settings on the servers' command lines
        environment={"LMCACHE_CONFIG_FILE": None, "PROMETHEUS_MULTIPROC_DIR": None},
        arguments=["--disable-hybrid-kv-cache-manager"],
        ports=[],
        unit=node.name,
        chunk_size=server_options(lab, fault, node)["chunk-size"],  # which it asks for once, when it starts
    )
