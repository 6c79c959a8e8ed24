# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import HINT, Signature

SIGNATURE = Signature(
    slug="peer-unreachable",
    cause_class="BIND_HOST",
    title="No connection to the peer that was named",
    proves="The controller named a holder, and the receiver could not connect to it or was not answered.",
    cannot="Whether the advertised address is wrong, a firewall closes its ports, or the holder has ended.",
    remedy=(
        "From the receiver, connect to the peer_init_url of the layout line; compare it with the holder's addresses."
    ),
    source="LMCache 0.5.6 p2p_backend.py",
    pattern=r"Failed to ensure peer connection|ZMQ error occurred for lookup_id|Max retry count reached",
    strength=HINT,
)
