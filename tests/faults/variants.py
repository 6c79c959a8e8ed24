# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""Healthy clusters that differ in everything that must not matter."""

from __future__ import annotations

import json
from random import Random
from typing import Any


def healthy(number: int) -> dict[str, Any]:
    """The plan of healthy cluster ``number``; 0 is the lab's own, every other one is drawn, the same each time."""
    plan: dict[str, Any] = {"expect": {"verdict": "pass", "first": None, "also": []}}
    if number == 0:
        return plan
    draw = Random(number)
    chunk = draw.choice([64, 128, 192, 256, 384, 512])
    ports = draw.sample(range(8200, 8900), 4)
    pull, reply = draw.sample(range(8300, 8900), 2)
    beat = draw.random() < 0.5
    settings = {
        "chunk_size": chunk, "p2p_init_ports": ports[0], "p2p_lookup_ports": ports[1],
        "controller_pull_url": "{{ address.controller }}:" + str(pull),
        "controller_reply_url": "{{ address.controller }}:" + str(reply),
        "pre_caching_hash_algorithm": draw.choice(["builtin", "builtin", "sha256_cbor"]),
        "max_local_cpu_size": draw.choice([0.5, 1.0, 5.0]), "save_decode_cache": draw.random() < 0.5,
        "internal_api_server_enabled": draw.random() < 0.7,
    }  # fmt: skip
    if beat:
        settings |= {"lmcache_worker_heartbeat_time": draw.choice([1, 10]), "lmcache_worker_heartbeat_delay_time": 0}
    speed = {
        "prefill_token_s": draw.choice([0.00003, 0.00006, 0.0002]), "decode_token_s": draw.choice([0.0005, 0.004]),
        "transfer_latency_s": draw.choice([0.0002, 0.002, 0.01]), "transfer_gb_s": draw.choice([0.5, 2.0, 20.0]),
        "handshake_s": draw.choice([0.0, 0.2]), "jitter": draw.choice([0.0, 0.1, 0.3]),
        "noise_nats": draw.choice([0.0, 1e-6, 1e-4]), "seed": number,
    }  # fmt: skip
    arguments = ["--dtype", draw.choice(["float32", "bfloat16", "float16"])]
    arguments += ["--block-size", draw.choice(["16", "32", "64"]), "--max-num-batched-tokens",
                  draw.choice(["1024", "2048", "8192"])]  # fmt: skip
    if draw.random() < 0.5:
        arguments.append("--enable-prefix-caching")
    plan["all"] = {
        "lmcache": settings,
        "env": {"REHEARSAL": json.dumps(speed), "PYTHONHASHSEED": str(draw.choice([0, 1, 42, 4294967295]))},
        "arguments": arguments,
    }
    plan["controller"] = {"ports": {"pull": pull, "reply": reply, **({"heartbeat": 8082} if beat else {})}}
    plan["validate"] = {
        "kv_reuse_chunk_size": chunk,  # an operator's part, where the internal API cannot be asked
        "kv_reuse_chunks": draw.randint(1, 2200 // chunk),
        "kv_reuse_trials": draw.randint(1, 4),
        "kv_reuse_max_tokens": draw.choice([8, 32, 64]),
    }
    return plan
