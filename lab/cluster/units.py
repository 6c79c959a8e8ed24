# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""The same processes as systemd services, for a cluster whose nodes are hosts of their own (lab/hosts).

What they log is in the journal of their host; the lab's folder is there under the path that it has here.
"""

from __future__ import annotations

from typing import Any

from . import plan
from .fault import Fault, FaultError, filled_in
from .lab import Lab

NET_DEVICE = "eth0"  # of a host
SERVICE = """\
[Unit]
Description={name}, of kvproof's lab
[Service]
User={user}
WorkingDirectory={cwd}
{environment}
ExecStart={command}
"""


def by_host(lab: Lab, fault: Fault) -> dict[str, list[dict[str, Any]]]:
    """Of each host, by its name: a dict for each service.

    unit: its name.  text: its file.  user, files, fresh_dirs, ready_urls: as in supervise.py.
    ready_log: texts that its journal has when it is ready.  Raises FaultError for what only a lab without hosts can do.
    """
    hosts: dict[str, list[dict[str, Any]]] = {node.name: [] for node in lab.nodes}
    if lab.has_controller:
        hosts[lab.controller.name] = []
    for spec in plan.processes(lab, filled_in(fault, lab.addresses, lab.dir)):
        host, unit = _place(lab, spec["name"])
        ready = spec.get("ready_log", "")
        hosts[host].append(
            {
                "unit": unit,
                "text": _text(spec),
                "ready_log": [ready] if isinstance(ready, str) else ready,
                **{key: spec[key] for key in ("user", "files", "fresh_dirs", "cwd", "ready_urls")},
            }
        )
    return hosts


def _place(lab: Lab, name: str) -> tuple[str, str]:
    """The host of a process, and its unit there."""
    engines, controller = {node.name for node in lab.nodes}, lab.controller.name
    if name in engines:
        return name, "vllm.service"
    host, _, server = name.rpartition("-")
    if host in engines and server == "server":
        return host, "lmcache-server.service"
    if controller in (name, host):
        return controller, f"lmcache-controller{name[len(controller) :]}.service"
    raise FaultError(f"{name} is no service of a host: this fault is made in a lab without hosts.")


def _text(spec: dict[str, Any]) -> str:
    environment = {**spec["env"]}
    if "UCX_NET_DEVICES" in environment:
        environment["UCX_NET_DEVICES"] = NET_DEVICE
    return SERVICE.format(
        name=spec["name"],
        user=spec["user"] or "root",
        cwd=spec["cwd"],
        environment="\n".join(f"Environment={_quoted(f'{name}={value}')}" for name, value in environment.items()),
        command=" ".join(_quoted(word).replace("$", "$$") for word in spec["argv"]),
    )


def _quoted(word: str) -> str:
    """As one word of a unit's file."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'
