# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import PROOF, SETTING, Sign, Signature, matching


def look(material):
    for role, line in matching(material, r"Unsupported channel type"):
        yield Sign(role, line, PROOF)
        return
    for told in material.told:
        for value in told.values("transfer_channel"):
            if value and str(value).lower() in ("tcp", "ucx", "rdma", "socket", "zmq"):
                yield Sign(told.role, f"transfer_channel: {value}", SETTING)


SIGNATURE = Signature(
    slug="transfer-channel",
    cause_class="UCX",
    title="The transfer channel is one that LMCache does not have",
    proves=(
        "LMCache takes nixl (and mock_memory, for tests) and refuses to start its P2P or PD backend with another name."
    ),
    cannot="Whether the transport below NIXL works once the name is right.",
    remedy=(
        "Set transfer_channel: nixl with nixl_backends: [UCX]; what UCX uses is chosen with UCX_TLS (tcp for Ethernet)."
    ),
    source="LMCache 0.5.6 transfer_channel/__init__.py:41",
    look=look,
)
