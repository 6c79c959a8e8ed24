# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's log: as it was seen elsewhere, else from the source given, else from where its process writes."""

from __future__ import annotations

import os

from .. import log as logs
from .. import processes
from ..context import Node


def log(node: Node) -> dict:
    """NODE.log."""
    options = node.options
    if options["log_seen"]:
        return options["log_seen"]
    engine = node["engine"]
    want = node.want(engine["started_at"])
    if options["log"]:
        opened = _inside(node, node.pid) if node.pid and engine["other_namespace"] else None
        part = logs.read(options["log"], want, path=opened)
    else:
        part = _of_process(node, want)
    node.bytes_read += part["bytes_read"]
    return part


def ids_in_log_of(node: Node, pid: int) -> list[str]:
    """Ids of this run's requests in the log that process `pid` writes; [] where it has none, or may not be read."""
    options = node.options
    if not options["ids"]:
        return []
    other_namespace, _compared = processes.namespace(node.proc, pid)
    want = node.want(processes.started_at(node.proc, pid), options["log_budget"] // 8)
    source, path = options["log"], _inside(node, pid) if options["log"] and other_namespace else None
    if not source:
        try:
            target = processes.output_target(node.proc, pid)
        except OSError:
            return []
        if target is None:
            return []
        source, path = {target[0]: target[1]}, _opened(node.proc, pid, target, other_namespace)
    elif path is None:
        return []  # a log that is given, and not in its root, tells nothing of the process
    part = logs.read(source, want, found_by="stdout", path=path)
    node.bytes_read += part["bytes_read"]
    return part["ids_found"]


def _inside(node, pid):
    """Where the log file that was given is below the root of a process; None where it is ours, or no file."""
    path = node.options["log"].get("file")
    return processes.resolve_path(node.proc, pid, path, True) if path and not os.path.exists(path) else None


def _opened(proc, pid, target, other_namespace):
    """Where the log that a process writes is opened, as processes.output_target() tells it; None for a unit."""
    kind, name, link = target
    path = processes.resolve_path(proc, pid, name, other_namespace) if kind == "file" else None
    return link if path and not os.path.exists(path) else path  # deleted or out of reach, but still open


def _of_process(node: Node, want: logs.Want) -> dict:
    engine, pid, target = node["engine"], node.pid, None
    detail = "the engine's process was not found, so neither was its log; give it in kv_reuse_log"
    if pid is not None:
        try:
            target = processes.output_target(node.proc, pid)
            detail = "the engine writes to neither a file nor a unit's journal; give its log in kv_reuse_log"
        except OSError:
            engine["unseen"].append("where the engine writes its log")
            detail = "where the engine writes its log may not be seen by this user; give it in kv_reuse_log"
    if pid is None or target is None:
        return logs.document(None, detail=detail, ids=want.ids)
    path = _opened(node.proc, pid, target, engine["other_namespace"])
    return logs.read({target[0]: target[1]}, want, found_by="stdout", path=path)
