# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""LMCache's server beside the engine, in multiprocess mode."""

from __future__ import annotations

from .. import multiprocess
from ..context import Node


def cache_server(node: Node) -> dict | None:
    """NODE.cache_server.  Its log is read only where a run is looked for in it."""
    part = multiprocess.beside(node["engine"], node.options, node.proc, node.listening, node.want())
    node.bytes_read += ((part or {}).get("log") or {}).get("bytes_read") or 0
    return part
