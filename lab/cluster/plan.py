# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""A cluster and its fault → the processes it is made of, and what the validator is told about it.

An architecture is a module with ``processes(lab, fault, edited)``, which returns the specs of its members
(supervise.py), and a line in ARCHITECTURES.  What every cluster may have stands here: sockets in the members' way, and
SSH servers.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import inprocess_p2p, lmcache_pd, mp, nixl_pd, ssh
from .fault import Fault, FaultError, variables
from .lab import REDIS, Lab

DISTURB = Path(__file__).with_name("disturb.py")
REDIS_PORT = 6379
LISTENING = "listening"  # said by it once its sockets are there
ARCHITECTURES: dict[str, Callable[[Lab, Fault, bool], list[dict[str, Any]]]] = {
    "inprocess_p2p": inprocess_p2p.processes,
    "lmcache_pd": lmcache_pd.processes,
    "mp": mp.processes,
    "nixl_pd": nixl_pd.processes,
}


def processes(lab: Lab, fault: Fault, *, edited: bool = False) -> list[dict[str, Any]]:
    """Specs of all that runs, in the order in which it is started.

    edited: whether the fault's ``edit`` of a configuration file has been carried out.
    """
    members = ARCHITECTURES[lab.architecture](lab, fault, edited)
    return [*_obstacles(lab, fault), *_redis(lab, fault), *members, *ssh.servers(lab, fault)]


def _redis(lab: Lab, fault: Fault) -> list[dict[str, Any]]:
    """A store that both engines share; the rehearsal's engines take a folder for it.  Raises FaultError."""
    if not fault.get("redis") or lab.engine == "rehearsal":
        return []
    program = shutil.which("redis-server")
    if program is None:
        raise FaultError(
            "This fault needs Redis, and redis-server is not installed (Debian: apt-get install redis-server)."
        )
    place = f"{lab.controller.address}:{REDIS_PORT}"
    host, _, port = place.rpartition(":")
    words = ["--bind", host, "--port", port, "--save", "", "--appendonly", "no", "--maxmemory", "1gb"]
    return [lab.process(REDIS, [program, *words], first=True, ports=[place], ready_urls=[f"tcp://{place}"])]


def _obstacles(lab: Lab, fault: Fault) -> list[dict[str, Any]]:
    """Sockets of nobody that the members find in their way."""
    if "listen" not in fault:
        return []
    places = {"silent": [], "full": [], **fault["listen"]}
    obstacles = lab.process(
        "obstacles",
        [sys.executable, str(DISTURB), "listen", *(f"{how}={place}" for how, some in places.items() for place in some)],
        first=True,
        ports=places["silent"] + places["full"],
        ready_urls=[f"tcp://{place}" for place in places["silent"]],
        ready_log=LISTENING,
        watch=[str(DISTURB)],
    )
    return [obstacles]


def inventory(lab: Lab, fault: Fault) -> str:
    """What the validator is told about the nodes, as an inventory to be given besides its own."""
    nodes = [(node.name, node.role) for node in lab.nodes]
    if lab.has_controller:
        nodes.append((lab.controller.name, "controller"))
    hosts = "".join(f"    {name}: {json.dumps(variables(fault, role))}\n" for name, role in nodes)
    head = "# What the validator is told about these nodes besides its inventory, written by kv_lab\n"
    return f"{head}all:\n  hosts:\n{hosts}"
