# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Log lines of LMCache's server (0.5.6) that name a request.

``Prefetch request completed (L1+L2): 2/2 retained keys (0 L1, 2 L2) … (external_request_id=<id>, …)``: chunks that
this server had itself (L1) and that an L2 adapter, a peer among them, gave it.
"""

from __future__ import annotations

import re

PREFETCH = re.compile(
    r"Prefetch request completed \(L1\+L2\): (?P<kept>\d+)/(?P<asked>\d+) retained keys "
    r"\((?P<l1>\d+) L1, (?P<l2>\d+) L2\).*external_request_id=(?P<id>[^\s,)]+)"
)
_COUNTS = ("kept", "asked", "l1", "l2")


def scan(text: str) -> list[dict]:
    """Events of a server's log, kind "prefetched" with id and the key counts kept, asked, l1, l2."""
    return [
        {"kind": "prefetched", "id": found["id"], **{name: int(found[name]) for name in _COUNTS}}
        for found in PREFETCH.finditer(text)
    ]
