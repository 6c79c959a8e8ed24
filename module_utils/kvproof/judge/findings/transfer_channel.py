# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..pasted import SETTING, Sign
from . import Finding

FINDING = Finding(
    slug="transfer-channel",
    link=4,
    kind="cause",
    title="The transfer channel is one that LMCache does not have",
    meaning=(
        "LMCache takes nixl (and mock_memory, for tests) and refuses to start its P2P or PD backend with another name."
    ),
    evidence="`Unsupported channel type` in an engine's log, or transfer_channel in its configuration.",
    remedy=(
        "Set transfer_channel: nixl with nixl_backends: [UCX]; what UCX uses is chosen with UCX_TLS (tcp for Ethernet)."
    ),
    source="LMCache 0.5.6 transfer_channel/__init__.py:41",
    cause_class="UCX",
    cannot="Whether the transport below NIXL works once the name is right.",
)


def pasted(material):
    for role, line in material.lines("unsupported_channel"):
        yield Sign(role, line)
        return
    for node in material.nodes:
        for value in node.values("transfer_channel"):
            if value and str(value).lower() in ("tcp", "ucx", "rdma", "socket", "zmq"):
                yield Sign(node.role, f"transfer_channel: {value}", SETTING)
