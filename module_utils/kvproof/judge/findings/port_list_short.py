# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re

from ..pasted import HINT, SETTING, Sign, number
from . import Finding

FINDING = Finding(
    slug="port-list-short",
    link=4,
    kind="cause",
    title="Fewer ports are listed than the engine has ranks",
    meaning="Every rank takes the port at its own place in the list; a rank beyond the end of it fails at start.",
    evidence="The ports of a setting against --tensor-parallel-size, or an IndexError at a list of ports.",
    remedy="List one port per tensor parallel rank, for each of the port settings.",
    source="LMCache 0.5.6 p2p_backend.py:194, pd_backend.py:146",
    cause_class="PORT_LIST_SHORT",
    cannot="Whether the engine was really started with this list.",
)

# Lists with one port per rank: LMCache takes the port at its rank.
KEYS = (
    "p2p_init_ports",
    "p2p_lookup_ports",
    "lmcache_worker_ports",
    "pd_peer_init_port",
    "pd_peer_alloc_port",
    "nixl_peer_init_port",
    "nixl_peer_alloc_port",
)


def pasted(material):
    for role, line in material.lines("port_index"):
        yield Sign(role, line)
    ranks = material.degree("tensor-parallel-size")
    for node in material.nodes:
        for key in KEYS:
            counts = [_count(value) for value in node.values(key) if value]
            if ranks and counts and None not in counts and max(counts) < ranks:
                # an engine that answered requests did not fail at start
                sure = not material.lookups and (not key.startswith("nixl_") or "xpyd" in material.text)
                text = f"{key}: {node.values(key)[0]}, for {ranks} ranks"
                yield Sign(node.role, text, SETTING if sure else HINT)


def _count(value) -> int | None:
    """How many ports a setting lists; None where that cannot be told."""
    if isinstance(value, list):
        return len(value)
    return 1 if number(value) and not re.search("[,;]", str(value)) else None
