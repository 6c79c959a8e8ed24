# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""LMCache's prefill/decode transfer: a sender and a receiver; whoever asks them plays the proxy."""

from __future__ import annotations

from typing import Any

from . import engine, healthy
from .fault import Fault
from .lab import Lab, Node

CONNECTORS = {
    "prefill": {"kv_role": "kv_producer", "rpc": "producer1"},
    "decode": {"kv_role": "kv_consumer", "rpc": "consumer1"},
}


def processes(lab: Lab, fault: Fault, edited: bool) -> list[dict[str, Any]]:
    """Specs of the engines.  edited: whether the fault's ``edit`` has been carried out."""
    return [_engine(lab, fault, node, edited) for node in lab.nodes]


def spec(lab: Lab, fault: Fault) -> dict[str, Any]:
    """kv_transfer_params by which the prefill engine hands a prompt to the decode engine."""
    node = next(node for node in lab.nodes if node.role == "decode")
    own = engine.settings(healthy.pd_settings(node, lab.controller.address), fault, node, False)
    return {
        "ret_first_tok": True,
        "disagg_spec": {
            "req_id": "lab",
            "receiver_host": own["pd_peer_host"],
            "receiver_init_port": [own["pd_peer_init_port"]],
            "receiver_alloc_port": [own["pd_peer_alloc_port"]],
        },
    }


def _engine(lab: Lab, fault: Fault, node: Node, edited: bool) -> dict[str, Any]:
    own = CONNECTORS[node.role]
    ports = healthy.internal_ports(node)
    if node.role == "decode":
        ports += [f"{node.address}:{healthy.PD_INIT_PORT}", f"0.0.0.0:{node.lmcache_worker_port}"]
    usual = healthy.pd_settings(node, lab.controller.address, chunk_size=lab.chunk_size)
    return engine.spec(
        lab,
        fault,
        node,
        connector={
            "kv_connector": "LMCacheConnectorV1",
            "kv_role": own["kv_role"],
            "kv_connector_extra_config": {"discard_partial_chunks": False, "lmcache_rpc_port": own["rpc"]},
        },
        settings=engine.settings(usual, fault, node, edited),
        ports=ports,
    )
