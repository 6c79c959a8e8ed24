# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import HINT, Sign, Signature

KEYS = ("p2p_host", "pd_peer_host", "nixl_receiver_host", "controller_pull_url", "controller_reply_url")


def look(material):
    for told in material.told:
        for key in KEYS:
            for value in told.values(key):
                if str(value).startswith(("localhost", "127.")):
                    yield Sign(told.role, f"{key}: {value}", HINT)


SIGNATURE = Signature(
    slug="loopback-advertised",
    cause_class="BIND_HOST",
    title="A loopback address stands where peers on other hosts must reach it",
    proves="On one machine this is right. On two, each node would talk to itself.",
    cannot="Whether the nodes are on one machine.",
    remedy="On several machines: the node's own address for p2p_host and pd_peer_host, the controller's for its URLs.",
    source="LMCache 0.5.6: p2p_host is bound and advertised; LMCache#1992",
    look=look,
)
