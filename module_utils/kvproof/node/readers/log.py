# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's log, from the source given, else from where its process writes."""

from __future__ import annotations

import os

from .. import log as logs
from .. import processes
from ..context import Node


def log(node: Node) -> dict:
    """NODE.log."""
    options, engine, pid = node.options, node["engine"], node.pid
    want = logs.Want(
        options["ids"],
        options["run_marker"],
        options["since"],
        started_at=engine["started_at"],
        head_bytes=options["log_head"],
        budget=options["log_budget"],
        max_events=options["max_events"],
        timeout=options["log_timeout"],
    )
    if options["log"]:
        path = options["log"].get("file")
        inside = path and engine["other_namespace"] and not os.path.exists(path)
        opened = processes.resolve_path(node.proc, pid, path, True) if pid and inside else None
        part = logs.read(options["log"], want, path=opened)
    else:
        part = _of_process(node, want)
    node.bytes_read += part["bytes_read"]
    return part


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
    kind, name, link = target
    path = processes.resolve_path(node.proc, pid, name, engine["other_namespace"]) if kind == "file" else None
    if path and not os.path.exists(path):
        path = link  # deleted or out of reach, but still open
    return logs.read({kind: name}, want, found_by="stdout", path=path)
