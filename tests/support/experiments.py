# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The experiment run against fake engines."""

from __future__ import annotations

import json

from fake_engine import CHUNK, Server
from kvproof.probe.document import empty_probe
from kvproof.probe.engine import EngineSettings
from kvproof.probe.inprocess_p2p import InProcessP2P
from kvproof.probe.options import Settings


def run(cluster, settings=None, controller=True, holder=None, receiver=None):
    wanted = {
        "run_id": "kabc12345",
        "chunks": 4,
        "chunk_size": CHUNK,
        "wait_s": 0.3,
        "deadline_s": 20.0,
        **(settings or {}),
    }
    pair = InProcessP2P(
        Settings(**wanted),
        EngineSettings("holder", "p1", **{"url": cluster.prefill.url, **(holder or {})}),
        EngineSettings("receiver", "d1", **{"url": cluster.decode.url, **(receiver or {})}),
        cluster.controller.url if controller else None,
    )
    probe = pair.run()
    json.dumps(probe, allow_nan=False)
    assert set(probe) == set(empty_probe(pair.settings, pair.holder.settings, pair.receiver.settings))
    return probe


def internal_api(**conf):
    server = Server()
    server.on["/conf"] = lambda h, _p: h.reply(200, json.dumps({"chunk_size": CHUNK, "extra_config": "secret", **conf}))
    server.on["/meta"] = lambda h, _p: h.reply(
        200, json.dumps({"kv_shape": [4, 2, CHUNK, 4, 64], "kv_dtype": "torch.bfloat16", "world_size": 1})
    )
    server.on["/backends"] = lambda h, _p: h.reply(503, {"error": "unavailable"})
    server.on["/lmc_version"] = lambda h, _p: h.reply(200, '"0.5.6"')
    return server
