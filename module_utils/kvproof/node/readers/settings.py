# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""LMCache's settings as the node shows them: the file, what is in effect, and LMCache's own metadata and versions.

Best first: the internal API, then the engine's own log.  The file proves nothing of a running engine.
"""

from __future__ import annotations

import os

from .. import config, processes
from ..context import Node


def config_file(node: Node) -> dict:
    """NODE.config_file, read through the root of a container's process where it has one."""
    engine, given = node["engine"], node.options["config_file"]
    path, found_by = config.config_path(given, engine["env"], node.log_events)
    opened = path
    if path and node.pid and not (found_by == "variable" and os.path.exists(path)):
        opened = processes.resolve_path(node.proc, node.pid, path, engine["other_namespace"])
    part = config.read_file(path, found_by, opened)
    node.bytes_read += part.pop("size")
    return part


def effective(node: Node) -> dict:
    """NODE.effective."""
    logged = node.last_logged("config")
    if node.api["conf"] is not None:
        return {"source": "internal_api", "values": node.api["conf"]}
    if logged is not None:
        return {"source": "log", "values": logged["values"]}
    return {"source": None, "values": {}}


def meta(node: Node) -> dict | None:
    """LMCache's metadata: the internal API's, else the worker's in the log."""
    return node.api["meta"] or (node.last_logged("initialized", role="worker") or {}).get("meta")


def backends(node: Node) -> list[str] | None:
    """Names of LMCache's storage backends."""
    created = {event["name"] for event in node.log_events if event["kind"] == "backend_created"}
    return node.api["backends"] or sorted(created) or None


def internal_api(node: Node) -> dict:
    """NODE.internal_api."""
    return node.api["internal_api"]


def versions(node: Node) -> dict:
    """Of LMCache and vLLM, None where neither the internal API nor the log tells."""
    logged = node.last_logged("initialized") or {}
    return {"lmcache": node.api["lmcache"] or logged.get("lmcache"), "vllm": logged.get("vllm")}
