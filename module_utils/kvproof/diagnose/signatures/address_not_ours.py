# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Signature

SIGNATURE = Signature(
    slug="address-not-ours",
    cause_class="BIND_HOST",
    title="An address is bound that is not this node's",
    proves=(
        "The host configured for a listening socket (p2p_host, pd_peer_host, the side channel) is no address of "
        "this machine or container."
    ),
    cannot="Which of several host settings it is, when the line does not name the address.",
    remedy="Set the host to an address that this node has and its peers can reach.",
    source="errno EADDRNOTAVAIL; LMCache 0.5.6 binds p2p_host and advertises it",
    pattern=r"Cannot assign requested address|EADDRNOTAVAIL",
)
