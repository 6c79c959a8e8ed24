# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the looks at nodes showed, of the variables that their tasks were registered as."""

from __future__ import annotations

from typing import Any

from kvproof.evidence import document
from kvproof.evidence.assemble import seen


def node_seen(hostvars: Any, host: str, registered: str | None) -> dict | None:
    """NODE that lmcache_node_info showed of a host, of the types that are promised; None where it showed none."""
    result = hostvars.raw_get(host).get(registered) if registered else None
    try:
        node = seen(result or {}).get("node")
    except (AttributeError, TypeError, ValueError):  # an odd answer of one node
        return None
    return document.node(node) or None
