# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import SETTING, Sign, Signature

KEYS = ("p2p_host", "pd_peer_host", "nixl_receiver_host", "nixl_peer_host")


def look(material):
    for told in material.told:
        for key in KEYS:
            if told.values(key) in (["0.0.0.0"], ["::"]):
                yield Sign(told.role, f"{key}: {told.values(key)[0]}", SETTING)


SIGNATURE = Signature(
    slug="wildcard-advertised",
    cause_class="BIND_HOST",
    title="The wildcard address is advertised to peers",
    proves="LMCache hands this host to its peers as it is; a peer that connects to 0.0.0.0 connects to itself.",
    cannot="Whether a peer ever tried.",
    remedy="Set the host to an address of this node that its peers can reach.",
    source="LMCache 0.5.6 p2p_backend.py: peer_init_url is made of p2p_host",
    look=look,
)
