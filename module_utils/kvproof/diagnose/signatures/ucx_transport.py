# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re

from . import HINT, PROOF, Sign, Signature, matching

ERROR = (
    r"UCX\s+ERROR.*(?i:endpoint timeout|unreachable|no (?:usable|active) transports?|flushed error|no route"
    r"|not available|transport retry (?:count|counter) exceeded)|Unexpected UCX error: Endpoint timeout"
)
MISSING = r"UCX\s+WARN\s+transports? .*not available"
ENDED = r"EngineDeadError|\bKilled\b|SIGKILL|SIGTERM|out of memory|\bOOM\b"  # then the transport only tells of it


def look(material):
    ended = re.search(ENDED, material.text)
    for role, line in matching(material, ERROR):
        yield Sign(role, line, HINT if ended else PROOF)
    for role, line in matching(material, MISSING):
        # often harmless: it matters when nothing else is left to NIXL
        yield Sign(role, line, PROOF if "NIXL_ERR_BACKEND" in material.text and not ended else HINT)
    for role, line in matching(material, r"NIXL_ERR_REMOTE_DISCONNECT"):
        yield Sign(role, line, HINT)


SIGNATURE = Signature(
    slug="ucx-transport",
    cause_class="UCX",
    title="UCX, below NIXL, cannot use or keep a transport",
    proves=(
        "The transport library itself says that an endpoint timed out or is unreachable, that work was flushed, "
        "or that transports it was told to use are not there."
    ),
    cannot=(
        "Whether the network, a firewall, the UCX build or the choice of devices is at fault; or that the peer "
        "had not ended before."
    ),
    remedy=(
        "Set UCX_TLS and UCX_NET_DEVICES to what both nodes have, check the path between them with ucx_perftest "
        "or NIXL's own benchmark, and see in the peer's log whether it was alive."
    ),
    source="openucx messages; LMCache#725",
    look=look,
)
