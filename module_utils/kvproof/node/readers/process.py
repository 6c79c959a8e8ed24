# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's process: what it was started with, and what of it could not be seen."""

from __future__ import annotations

import os

from ...stack import commands
from .. import processes
from ..context import Node


def engine(node: Node) -> dict:
    """NODE.engine; what this user may not see is None, with a word in `unseen`."""
    proc, port = node.proc, node.options["port"]
    process = _find(node)
    pid = process.pid
    part = {
        "port": port,
        "running": process.running,
        "pid": pid,
        "user": None,
        "started_at": None,
        "found_by": process.found_by,
        "listening": None if process.listeners is None else bool(process.listeners),
        "options": {},
        "env": None,
        "other_namespace": False,
        "unseen": list(process.unseen),
    }
    if pid is None:
        return part
    part["user"], part["started_at"] = processes.owner(proc, pid), processes.started_at(proc, pid)
    if process.command:
        part["options"] = process.command.options
    else:
        part["options"] = commands.listed(processes.cmdline(proc, pid), commands.VLLM_OPTIONS)
    try:
        part["env"] = processes.environ(proc, pid)
    except OSError:
        part["unseen"].append("environ")
    part["other_namespace"], compared = processes.namespace(proc, pid)
    if not compared:
        part["unseen"].append("mount namespace")
    if not part["listening"] and part["other_namespace"]:
        part["listening"] = bool(node.listening.listed([port], pid))
    return part


def _find(node: Node) -> processes.Process:
    """The engine's process.  Where several could be meant, the address SSH was called under decides."""
    port, host = node.options["port"], node.options["host"]
    process = processes.find(port, host, commands.engine, node.proc, node.listening)
    called = os.environ.get("SSH_CONNECTION", "").split()
    if process.pid is None and process.running and host is None and len(called) == 4:
        return processes.find(port, called[2], commands.engine, node.proc, node.listening)
    return process
