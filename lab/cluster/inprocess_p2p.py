# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""LMCache's in-process P2P: one lmcache_controller, and engines that hold LMCache in their own processes."""

from __future__ import annotations

import re
from typing import Any

import yaml

from . import healthy
from .fault import Fault, applied, changes
from .lab import BASE_ENVIRONMENT, Lab, Node

STARTED_WORKER = "Starting lmcache worker"  # logged by an engine once the controller has answered its registration


def processes(lab: Lab, fault: Fault, edited: bool) -> list[dict[str, Any]]:
    """Specs of the controller and the engines.  edited: whether the fault's ``edit`` has been carried out."""
    engines = [_engine(lab, fault, node, number, edited) for number, node in enumerate(lab.nodes)]
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


def _engine(lab: Lab, fault: Fault, node: Node, number: int, edited: bool) -> dict[str, Any]:
    changed, stack, home = changes(fault, node.role), lab.stack, lab.home(node.name)
    sockets = lab.socket_dir / str(number)
    connector = None if changed["connector"] is None else {**stack.connector, **changed["connector"]}
    arguments = healthy.engine_arguments(
        node,
        model=f"{lab.model}-copy" if changed["model_copy"] else lab.model,
        served=lab.model_name,
        dtype=lab.dtype,
        connector=connector,
    )
    environment = {
        **BASE_ENVIRONMENT,
        **healthy.engine_environment(node.address, settings=home / "lmcache.yaml", metrics=home / "prometheus"),
        "HOME": str(home / "home"),
        "TMPDIR": str(sockets),
        "PYTHONPATH": str(stack.modules),
        "LAB_NIXL": lab.nixl,
        "LAB_STALL_FIX": "1" if lab.stall_fix else "0",
    }
    settings = _settings(lab, fault, node, edited)
    text = yaml.safe_dump(settings, indent=4, allow_unicode=True, sort_keys=False)
    held = (fault.get("listen") or {}).get("silent", [])  # by an obstacle
    ports = [f"{node.address}:{node.port}"]
    ports += [f"127.0.0.1:{node.internal_api_port}", f"127.0.0.1:{node.internal_api_port + 1}"]
    ports += [f"0.0.0.0:{node.lmcache_worker_port}"]
    ports += [f"{node.address}:{healthy.INIT_PORT}", f"{node.address}:{healthy.LOOKUP_PORT}"]
    return lab.process(
        node.name,
        [lab.python, "-m", "vllm.entrypoints.openai.api_server", *arguments, *changed["arguments"]],
        env={name: str(value) for name, value in applied(environment, changed["env"]).items()},
        cwd=str(home),
        user=lab.engine_user or None,
        log_mode=lab.log_mode,
        fresh_dirs=[str(home / "home"), str(home / "prometheus"), str(sockets)],
        files=[
            {
                "path": str(home / "lmcache.yaml"),
                "content": f"# LMCache on {node.name}, written by kv_lab\n{text}",
                "mode": lab.config_mode,
            }
        ],
        ports=[port for port in ports if port not in held],
        ready_urls=[f"http://{node.address}:{node.port}/health", *_registration(lab, fault, settings)],
        restarted_log=STARTED_WORKER,  # its old registration is listed at once, so it is the engine that tells
        watch=stack.sources,
    )


def _settings(lab: Lab, fault: Fault, node: Node, edited: bool) -> dict[str, Any]:
    changed, edit = changes(fault, node.role), fault.get("edit") or {}
    ranks = re.search(r"--tensor-parallel-size ([0-9]+)", " ".join(changed["arguments"]))
    usual = healthy.lmcache_settings(
        node, lab.controller, chunk_size=lab.chunk_size, ranks=int(ranks[1]) if ranks else 1
    )
    over = {edit["key"]: edit["value"]} if edited and edit["role"] == node.role else {}
    return applied(usual, changed["lmcache"], over)


def _registration(lab: Lab, fault: Fault, settings: dict[str, Any]) -> list[str]:
    """Where the controller shows that an engine has registered, where it is expected to.

    Asked without an instance, the controller answers from a list that may be 30 seconds old.
    """
    everybody = [] if fault.get("no_controller") else [node.name for node in lab.nodes]
    name = settings.get("lmcache_instance_id")
    if name not in fault.get("registered", everybody):
        return []
    return [f"{controller_url(lab, fault)}/controller/workers?instance_id={name}"]
