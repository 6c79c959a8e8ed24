# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..pasted import Line
from . import Finding

FINDING = Finding(
    slug="address-not-ours",
    link=3,
    kind="cause",
    title="A socket is to be bound to an address that this node does not have",
    meaning=(
        "The host configured for a listening socket (p2p_host, pd_peer_host, the side channel) is no address of "
        "this machine or container."
    ),
    evidence="`Cannot assign requested address` or EADDRNOTAVAIL in any log.",
    remedy="Set the host to an address that this node has and its peers can reach.",
    source="errno EADDRNOTAVAIL; LMCache 0.5.6 binds p2p_host and advertises it",
    cause_class="BIND_HOST",
    cannot="Which of several host settings it is, when the line does not name the address.",
    pasted=Line("address_not_ours"),
)
