# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""LMCache's in-process P2P: one lmcache_controller, and engines that hold LMCache in their own processes."""

from __future__ import annotations

import re
from typing import Any

from . import engine, healthy
from .fault import Fault, changes
from .lab import BASE_ENVIRONMENT, Lab, Node

STARTED_WORKER = "Starting lmcache worker"  # logged by an engine once the controller has answered its registration


def processes(lab: Lab, fault: Fault, edited: bool) -> list[dict[str, Any]]:
    """Specs of the controller and the engines.  edited: whether the fault's ``edit`` has been carried out."""
    engines = [_engine(lab, fault, node, edited) for node in lab.nodes]
    return engines if fault.get("no_controller") else [_controller(lab, fault), *engines]


def controller_url(lab: Lab, fault: Fault) -> str:
    """Where the controller itself listens, as its command line says."""
    changed = fault.get("controller") or {}
    return f"http://{changed.get('host', lab.controller.address)}:{changed.get('port', lab.controller.port)}"


def _controller(lab: Lab, fault: Fault) -> dict[str, Any]:
    changed, node = fault.get("controller") or {}, lab.controller
    host, port = changed.get("host", node.address), changed.get("port", node.port)
    ports = {"pull": node.pull_port, "reply": node.reply_port, **changed.get("ports", {})}
    home = lab.home(node.name) / "home"
    return lab.process(
        node.name,
        lab.stack.controller + healthy.controller_arguments(host, port, ports),
        env={**BASE_ENVIRONMENT, "HOME": str(home), **healthy.CONTROLLER_ENVIRONMENT},
        cwd=str(home),
        user=lab.engine_user or None,
        log_mode=lab.log_mode,
        fresh_dirs=[str(home)],
        ports=[f"{host}:{number}" for number in (port, *ports.values())],
        ready_urls=[f"{controller_url(lab, fault)}/controller/workers"],
    )


def _engine(lab: Lab, fault: Fault, node: Node, edited: bool) -> dict[str, Any]:
    ranks = re.search(r"--tensor-parallel-size ([0-9]+)", " ".join(changes(fault, node.role)["arguments"]))
    usual = healthy.lmcache_settings(
        node, lab.controller, chunk_size=lab.chunk_size, ranks=int(ranks[1]) if ranks else 1
    )
    settings = engine.settings(usual, fault, node, edited)
    ports = [*healthy.internal_ports(node), f"0.0.0.0:{node.lmcache_worker_port}"]
    ports += [f"{node.address}:{healthy.INIT_PORT}", f"{node.address}:{healthy.LOOKUP_PORT}"]
    return engine.spec(
        lab,
        fault,
        node,
        connector={"kv_connector": "LMCacheConnectorV1", "kv_role": "kv_both"},
        ports=ports,
        settings=settings,
        ready_urls=[f"http://{node.address}:{node.port}/health", *_registration(lab, fault, settings)],
        restarted_log=STARTED_WORKER,  # its old registration is listed at once, so it is the engine that tells
    )


def _registration(lab: Lab, fault: Fault, settings: dict[str, Any]) -> list[str]:
    """Where the controller shows that an engine has registered, where it is expected to.

    Asked without an instance, the controller answers from a list that may be 30 seconds old.
    """
    everybody = [] if fault.get("no_controller") else [node.name for node in lab.nodes]
    name = settings.get("lmcache_instance_id")
    if name not in fault.get("registered", everybody):
        return []
    return [f"{controller_url(lab, fault)}/controller/workers?instance_id={name}"]
