# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A pair of fake engines in multiprocess mode, their cache servers and the coordinator, for tests of the probe."""

from __future__ import annotations

from fake_engine import CHUNK, FakeCluster, FakeEngine, Server, digest

KEY_BYTES = 4096  # of a chunk
SALTED = "cache_salt"


class FakeCacheServer(Server):
    """Counts what its engine looks up, stores and gets from its peer; attributes switch faults on."""

    def __init__(self, name: str, number: str):
        super().__init__()
        self.name, self.engines, self.healthy = name, [number], True
        self.chunk_size = CHUNK
        self.pool_bytes = 1 << 30
        self.counts: dict[str, float] = {}
        self.on = {
            "/healthcheck": lambda h, _p: h.reply(200 if self.healthy else 503, {"status": "healthy"}),
            "/status": lambda h, _p: h.reply(200, self.status()),
            "/config": lambda h, _p: h.reply(200, {"mp": {"instance_id": name, "host": "127.0.0.1", "port": 5555}}),
            "/version": lambda h, _p: h.reply(200, '"0.5.6"'),
            "/metrics": lambda h, _p: h.reply(200, self.page(), "text/plain"),
        }

    def status(self) -> dict:
        adapter = {"type": "P2PL2Adapter"}
        return {
            "engine_type": "MPCacheServer",
            "chunk_size": self.chunk_size,
            "hash_algorithm": "blake3",
            "registered_non_cuda_instance_ids": self.engines,
            "non_cuda_context_meta": {"1": {"model_name": "/opt/fake", "world_size": 1}},
            "storage_manager": {"l2_adapters": [adapter], "l1_manager": {"memory_configured_bytes": self.pool_bytes}},
        }

    def page(self) -> str:
        lines = [f"lmcache_mp_{name} {value}\n" for name, value in self.counts.items()]
        return "lmcache_mp_active_prefetch_jobs 0\n" + "".join(lines)

    def count(self, **rises: float) -> None:
        for name, rise in rises.items():
            self.counts[name] = self.counts.get(name, 0.0) + rise


class MpEngine(FakeEngine):
    """Leaves its KV to ``server``; what its peer's server has is fetched and not kept."""

    server: FakeCacheServer

    def lookup(self, payload, ids):
        salt = payload.get(SALTED) or ""
        mine = [f"{salt}:{digest(ids[:end])}" for end in range(CHUNK, len(ids) + 1, CHUNK)]
        local = next((n for n, key in enumerate(mine) if key not in self.chunks), len(mine))
        known = self.chunks | self.cluster.reachable(self)
        hit = next((n for n, key in enumerate(mine) if key not in known), len(mine))
        new = mine[hit:]
        self.chunks.update(new)
        server = self.server
        server.count(lookups_requests_total=1, lookup_requested_tokens_total=len(mine) * CHUNK)
        server.count(lookup_hit_l1_tokens_total=local * CHUNK, lookup_hit_l2_tokens_total=(hit - local) * CHUNK)
        server.count(l1_write_chunks_total=len(new))
        return hit * CHUNK


class FakeMpCluster(FakeCluster):
    """prefill and decode with a server each, and a coordinator."""

    def __init__(self):
        super().__init__()
        self.controller.close()
        for name, number in (("prefill", "11"), ("decode", "22")):
            getattr(self, name).close()
            engine = MpEngine(name, self)
            engine.server = FakeCacheServer(f"{name}_mp", number)
            setattr(self, name, engine)
        self.controller = Server()
        self.controller.on = {
            "/healthz": lambda h, _p: h.reply(200, {"status": "healthy"}),
            "/instances": lambda h, _p: h.reply(200, {"instances": [{"instance_id": "prefill_mp"}]}),
            "/directory/stats": lambda h, _p: h.reply(200, {"l1_keys_by_instance": {"prefill_mp": 0}}),
            "/directory/lookup": lambda h, p: h.reply(200, self.directory(p["token_ids"])),
        }

    def directory(self, ids: list[int]) -> dict:
        keys = [f":{digest(ids[:end])}" for end in range(CHUNK, len(ids) + 1, CHUNK)]
        place = {"instance_id": "prefill_mp", "size_bytes": KEY_BYTES}
        results = [{"placements": [place] if key in self.prefill.chunks else []} for key in keys]
        return {"chunks": len(keys), "results": results}

    def close(self):
        super().close()
        for engine in (self.prefill, self.decode):
            engine.server.close()
