# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""vLLM's NixlConnector: a prefill and a decode engine, and nothing besides; whoever asks them plays the proxy.

The side channel binds an address of its node, so all nodes use its usual port.
"""

from __future__ import annotations

from typing import Any

from . import engine
from .fault import Fault
from .lab import Lab, Node

SIDE_PORT = 5600
ROLES = {"prefill": "kv_producer", "decode": "kv_consumer"}


def processes(lab: Lab, fault: Fault, edited: bool) -> list[dict[str, Any]]:
    """Specs of the engines.  edited: no file is read."""
    return [_engine(lab, fault, node) for node in lab.nodes]


def _engine(lab: Lab, fault: Fault, node: Node) -> dict[str, Any]:
    return engine.spec(
        lab,
        fault,
        node,
        connector={"kv_connector": "NixlConnector", "kv_role": ROLES[node.role], "kv_buffer_device": "cpu"},
        environment={
            "LMCACHE_CONFIG_FILE": None,
            "PROMETHEUS_MULTIPROC_DIR": None,
            "VLLM_NIXL_SIDE_CHANNEL_HOST": node.address,
            "VLLM_NIXL_SIDE_CHANNEL_PORT": SIDE_PORT,
        },
        ports=[f"{node.address}:{SIDE_PORT}"],
    )
