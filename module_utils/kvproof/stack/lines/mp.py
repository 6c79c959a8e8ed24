# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wordings of LMCache's server, which the multiprocess mode has beside the engines (0.5.6)."""

#: How many chunks this server had itself (L1) and how many an L2 adapter, a peer among them, gave it.
LMCACHE = [
    (
        "prefetched",
        "Prefetch request completed (L1+L2): ",
        r"(?<!\d)(?P<kept>\d+)/(?P<asked>\d+) retained keys \((?P<l1>\d+) L1, (?P<l2>\d+) L2\)"
        r".*external_request_id=(?P<id>[^\s,)]+)",
    ),
]
INTEGERS = ["kept", "asked", "l1", "l2"]
