# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's process: what it was started with, and what of it could not be seen."""

from __future__ import annotations

import os

from ...stack import commands
from .. import identity, processes
from ..context import Node
from . import log as logs

_MAX_LOGS = 8


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
        node.others = process.others
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
    host = node.options["host"]
    process = _at(node, host)
    called = os.environ.get("SSH_CONNECTION", "").split()
    if process.pid is None and process.running and host is None and len(called) == 4:
        process = _at(node, called[2])
    return _by_log(node, process) if process.others else process


def _at(node, host):
    options = node.options

    def leads_to(commands_of):
        return identity.answering(host, options["port"], commands_of, node.proc, options["dial_timeout"])

    return processes.find(
        options["port"], host, commands.engine, node.proc, listening=node.listening, leads_to=leads_to
    )


def _by_log(node, process):
    """Of processes that may be another engine's the one, if any, whose log has the ids of this run's own requests."""
    writers = [pid for pid in process.others[:_MAX_LOGS] if logs.ids_in_log_of(node, pid)]
    if len(writers) != 1:
        return process
    command = commands.engine(processes.cmdline(node.proc, writers[0]))
    port = command.port if command and command.port else node.options["port"]
    try:
        listeners = node.listening.at([port], writers[0])
    except OSError:
        listeners = None
    return processes.Process(writers[0], "log", command, listeners, True, [], [])
