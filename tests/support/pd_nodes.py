# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""NODE documents of a healthy sender and its receiver (LMCache 0.5.6, PDBackendAsync), and every way to be in doubt."""

from __future__ import annotations

import copy
from typing import Any

SPEC = {"receiver_host": "10.0.0.18", "receiver_init_port": [7300], "receiver_alloc_port": [7400]}
NAMES = ("prefill-1", "decode-1")
ADDRESS = {"sender": "10.0.0.17", "receiver": "10.0.0.18"}
KV_ROLE = {"sender": "kv_producer", "receiver": "kv_consumer"}
META = {"world_size": 1, "kv_dtype": "torch.bfloat16", "kv_shape": "(4, 2, 256, 4, 64)", "chunk_size": 256}


def node(role: str, **settings: Any) -> dict:
    """NODE of a sender or receiver; settings are LMCache's, in force."""
    values = {
        "enable_pd": True,
        "pd_role": role,
        "pd_buffer_size": 2**28,
        "pd_backend_mode": "async",
        "chunk_size": 256,
    }
    if role == "receiver":
        values.update(pd_peer_host=ADDRESS[role], pd_peer_init_port=[7300], pd_peer_alloc_port=[7400])
    transfer = {"kv_connector": "LMCacheConnectorV1", "kv_role": KV_ROLE[role]}
    return {
        "schema": "kvproof.node/1",
        "ssh": "ok",
        "hostname": role,
        "addresses": ["127.0.0.1", ADDRESS[role]],
        "engine": {"pid": 50, "running": True, "options": {"kv-transfer-config": transfer}, "env": {}},
        "effective": {"source": "internal_api", "values": {**values, **settings}},
        "meta": dict(META),
        "backends": ["PDBackend"],
        "log": {"state": "ok", "head": [], "events": []},
        "pd": None if role == "sender" else pd(),
        "dials": dials() if role == "sender" else [],
    }


def pd(**held: str | None) -> dict:
    """NODE.pd of the receiver; held: use of a port → who has it."""
    ports = [("init", 7300), ("alloc", 7400)]
    return {
        "host_ours": True,
        "ports": [{"use": use, "port": port, "held": held.get(use, "engine")} for use, port in ports],
    }


def dials(**state: str) -> list[dict]:
    """NODE.dials of the sender; state: use of a port → how its dial ended."""
    return [
        {"to": f"10.0.0.18:{port}", "why": f"pd-{use}", "state": state.get(use, "open"), "ms": 0.3}
        for use, port in (("init", 7300), ("alloc", 7400))
    ]


def changed(document: dict, **parts: Any) -> dict:
    """A copy with parts replaced; of a part that is an object, "part__field" replaces a field."""
    fresh = copy.deepcopy(document)
    for path, value in parts.items():
        *above, name = path.split("__")
        place = fresh
        for step in above:
            place = place[step]
        place[name] = value
    return fresh


SENDER, RECEIVER = node("sender"), node("receiver")
TRANSFER = "engine__options__kv-transfer-config__kv_role"
#: What is changed of the sender, of the receiver, the kind of doubt, and words of the sentence.
DOUBTS = {
    "nobody looked at the sender": (None, RECEIVER, "unread", "prefill-1: its process was not seen"),
    "nobody looked at the receiver": (SENDER, None, "unread", "decode-1: its process was not seen"),
    "no SSH": (changed(SENDER, ssh="unreachable"), RECEIVER, "unread", "see that SSH"),
    "no process": (SENDER, changed(RECEIVER, engine__pid=None), "unread", "its process was not seen"),
    "only a file": (SENDER, changed(RECEIVER, effective__source=None), "unread", "settings in force"),
    "the sender by a file": (changed(SENDER, effective__source=None), RECEIVER, "unread", "kv_reuse_log"),
    "two senders": (SENDER, node("sender"), "role", "decode-1: enable_pd: true, pd_role: sender"),
    "two receivers": (node("receiver"), RECEIVER, "role", "prefill-1: enable_pd: true, pd_role: receiver"),
    "both ways": (node("sender", pd_role="both"), RECEIVER, "role", "pd_role: both"),
    "no transfer": (SENDER, node("receiver", enable_pd=False), "role", "enable_pd: false"),
    "a receiver that stores": (SENDER, changed(RECEIVER, **{TRANSFER: "kv_both"}), "role", "kv_consumer"),
    "no kv_role": (changed(SENDER, engine__options={}), RECEIVER, "unread", "None and None"),
    "another mode": (node("sender", pd_backend_mode="fast"), RECEIVER, "unread", "pd_backend_mode fast"),
    "no backend": (SENDER, changed(RECEIVER, backends=["LocalCPUBackend"]), "backend", "LocalCPUBackend"),
    "degraded": (
        changed(SENDER, log__head=[{"kind": "init_failed", "text": "AssertionError"}]),
        RECEIVER,
        "backend",
        "AssertionError",
    ),
    "data parallel": (changed(SENDER, **{"engine__options__data-parallel-size": "2"}), RECEIVER, "ranks", "URL of"),
    "ranks differ": (SENDER, changed(RECEIVER, meta__world_size=2), "ranks", "2 rank(s)"),
    "fewer ports than ranks": (
        changed(SENDER, meta__world_size=2),
        changed(RECEIVER, meta__world_size=2),
        "ranks",
        "2 ports in pd_peer_init_port",
    ),
    "ranks unknown": (changed(SENDER, meta=None, engine__options__config="x.yaml"), RECEIVER, "unread", "ranks"),
    "no alloc port": (SENDER, node("receiver", pd_peer_alloc_port=None), "unread", "not all set"),
    "a name": (SENDER, node("receiver", pd_peer_host="decode"), "host", "pd_peer_host decode"),
    "a wildcard": (SENDER, node("receiver", pd_peer_host="0.0.0.0"), "host", "pd_peer_host 0.0.0.0"),
    "another's address": (SENDER, changed(RECEIVER, pd__host_ours=False), "host", "10.0.0.18"),
    "address unknown": (SENDER, changed(RECEIVER, pd__host_ours=None), "host", "10.0.0.18"),
    "init port closed": (SENDER, changed(RECEIVER, pd=pd(init="nobody")), "port", "nobody listens there"),
    "alloc port another's": (SENDER, changed(RECEIVER, pd=pd(alloc="another")), "port", "port 7400"),
    "port's owner unseen": (SENDER, changed(RECEIVER, pd=pd(alloc=None)), "unread", "kv_reuse_become"),
    "ports not looked at": (SENDER, changed(RECEIVER, pd=None), "host", "10.0.0.18"),
    "another port is held": (SENDER, node("receiver", pd_peer_alloc_port=[7401]), "unread", "port 7401"),
    "init port shut": (
        changed(SENDER, dials=dials(init="timeout")),
        RECEIVER,
        "dial",
        "connection from prefill-1: timeout",
    ),
    "alloc port refuses": (changed(SENDER, dials=dials(alloc="refused")), RECEIVER, "dial", "10.0.0.18:7400"),
    "nobody dialled": (changed(SENDER, dials=None), RECEIVER, "unread", "it was not tried from prefill-1"),
    "the sender's own address": (changed(SENDER, addresses=["10.0.0.18"]), RECEIVER, "host", "own node"),
    "the sender's loopback": (SENDER, node("receiver", pd_peer_host="127.0.0.1"), "host", "own node"),
    "no size of the buffer": (node("sender", pd_buffer_size=None), RECEIVER, "unread", "pd_buffer_size"),
    "a buffer without a shape": (SENDER, changed(RECEIVER, meta__kv_shape=None), "unread", "KV's shape"),
    "a small buffer": (SENDER, node("receiver", pd_buffer_size=3 * 2**20), "buffer", "holds 3"),
}
