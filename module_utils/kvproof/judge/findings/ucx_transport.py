# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..pasted import HINT, PROOF, Sign
from . import Finding

FINDING = Finding(
    slug="ucx-transport",
    link=10,
    kind="cause",
    title="UCX, which carries NIXL's transfers, cannot use or keep a transport",
    meaning=(
        "The transport library itself says that an endpoint timed out or is unreachable, that work was flushed, "
        "or that transports it was told to use are not there."
    ),
    evidence="UCX's errors and warnings in an engine's log.",
    remedy=(
        "Set UCX_TLS and UCX_NET_DEVICES to what both nodes have, check the path between them with ucx_perftest "
        "or NIXL's own benchmark, and see in the peer's log whether it was alive."
    ),
    source="openucx messages; LMCache#725",
    cause_class="UCX",
    cannot=(
        "Whether the network, a firewall, the UCX build or the choice of devices is at fault; or that the peer "
        "had not ended before."
    ),
)


def pasted(material):
    ended = any(material.lines("process_ended"))  # then the transport only tells of it
    for role, line in material.lines("ucx_failed"):
        yield Sign(role, line, HINT if ended else PROOF)
    for role, line in material.lines("ucx_transport_missing"):
        # often harmless: it matters when nothing else is left to NIXL
        alone = any(material.lines("nixl_backend_failed")) and not ended
        yield Sign(role, line, PROOF if alone else HINT)
    for role, line in material.lines("nixl_disconnected"):
        yield Sign(role, line, HINT)
