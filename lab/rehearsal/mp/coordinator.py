# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""lmcache coordinator: who is registered, and who says that he holds what."""

from __future__ import annotations

import argparse
import asyncio
import os
import time
import uuid
from collections.abc import Mapping
from typing import IO, Any

from aiohttp import web

from ..cache import settled
from ..log import Log
from ..web import Site, body_of, json_response
from .keys import Key, TokenHasher
from .page import Page

MODULES = ("cache", "directory", "events", "health", "instances", "instances_usage", "metrics")


def coordinator_options(arguments: list[str]) -> argparse.Namespace:
    """lmcache coordinator's command line; options that are not known here are left alone."""
    parser = argparse.ArgumentParser(prog="lmcache coordinator", allow_abbrev=False)
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=9300)
    parser.add_argument("--chunk-size", type=int, default=256)
    parser.add_argument("--hash-algorithm", default="blake3")
    parser.add_argument("--instance-timeout", type=float, default=30.0)
    return parser.parse_known_args(arguments)[0]


class Coordinator:
    """One coordinator; ``env`` is its whole environment, ``stream`` takes its log."""

    def __init__(self, arguments: list[str], env: Mapping[str, str], stream: IO[str]):
        self.options = options = coordinator_options(arguments)
        self._log = log = Log(stream, level=env.get("LMCACHE_LOG_LEVEL", "INFO"), pid=os.getpid())
        log.say("mp_banner")
        log.say("mp_otel", service="lmcache-mp-coordinator", instance="vm")
        self._page = Page("coordinator", "lmcache-mp-coordinator", "vm")
        self._hasher = TokenHasher(options.hash_algorithm, options.chunk_size, env, log)
        self._instances: dict[str, dict[str, Any]] = {}
        self._beats: dict[str, float] = {}
        self._held: dict[str, dict[str, dict[str, Any]]] = {}  # key's text → instance → placement
        self._capacity: dict[str, int] = {}
        self._asked: dict[str, int] = {}
        self._site = site = Site(log)
        self._tasks: list[asyncio.Task] = []
        site.get("/healthz", self._healthz)
        site.get("/metrics", self._metrics)
        site.get("/instances", self._list)
        site.get("/instances/usage", self._usage)
        site.post("/instances", self._register)
        site.app.router.add_put("/instances/{name}/heartbeat", self._heartbeat)
        site.app.router.add_delete("/instances/{name}", self._deregister)
        site.post("/events", self._events)
        site.get("/directory/stats", self._stats)
        site.post("/directory/lookup", self._lookup)

    async def start(self) -> None:
        """Listens when it returns.  Raises OSError when the address cannot be had."""
        options, say = self.options, self._log.say
        say("mp_coordinator_cold")
        for module in MODULES:
            say("api_modules", module=f"{module}_api")
        say("mp_uvicorn_starts")
        await self._site.start(options.host, options.port)
        say("mp_coordinator_listens", host=options.host, port=options.port)
        say("mp_uvicorn_runs", host=options.host, port=options.port)
        self._tasks.append(asyncio.create_task(self._reap()))

    async def stop(self) -> None:
        await settled(self._tasks)
        await self._site.close()
        self._log.say("stopped")

    async def _reap(self) -> None:
        """Drops instances that have sent no heartbeat for longer than the time-out."""
        while True:
            await asyncio.sleep(1.0)
            for name, at in list(self._beats.items()):
                if time.monotonic() - at > self.options.instance_timeout:
                    self._forget(name)

    def _forget(self, name: str) -> bool:
        """Whether it was known; what it held goes with it."""
        self._beats.pop(name, None)
        self._capacity.pop(name, None)
        for text in list(self._held):
            self._held[text].pop(name, None)
            if not self._held[text]:
                del self._held[text]
        return self._instances.pop(name, None) is not None

    # ---- membership

    async def _healthz(self, _request: web.Request) -> web.Response:
        return json_response({"status": "healthy"})

    async def _list(self, _request: web.Request) -> web.Response:
        return json_response({"instances": list(self._instances.values())})

    async def _register(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        name = body.get("instance_id") or f"mp-{uuid.uuid4().hex}"
        again = name in self._instances
        self._instances[name] = {
            "instance_id": name, "ip": body["ip"], "http_port": body["http_port"], "registration_time": time.time(),
            "metadata": {}, "p2p_advertised_url": body.get("p2p_advertised_url", ""),
            "mq_port": body.get("mq_port", 0)}  # fmt: skip
        self._beats[name] = time.monotonic()
        self._log.say("mp_instance_registered", instance=name, ip=body["ip"], port=body["http_port"])
        return json_response({"instance_id": name, "re_registered": again})

    async def _heartbeat(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self._instances:
            return json_response({"error": f"unknown instance {name}; re-register"}, 404)
        self._beats[name] = time.monotonic()
        return json_response({"instance_id": name})

    async def _deregister(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self._log.say("mp_instance_gone" if self._forget(name) else "mp_instance_unknown", instance=name)
        return web.Response(status=204)

    # ---- the directory

    async def _events(self, request: web.Request) -> web.Response:
        """What a server tells: its capacity, chunks that came and chunks that went."""
        body = await body_of(request)
        name = body["instance_id"]
        self._capacity[name] = body["capacity_bytes"]
        for operation, text, size in body["events"]:
            if operation == "admit":
                self._held.setdefault(text, {})[name] = {
                    "instance_id": name, "incarnation": body["incarnation"], "tier": "l1", "backend": "dram",
                    "size_bytes": size, "shared": False}  # fmt: skip
            elif self._held.get(text, {}).pop(name, None) and not self._held[text]:
                del self._held[text]
        return json_response({"accepted": len(body["events"])})

    def _keys_of(self, name: str) -> list[dict[str, Any]]:
        return [placements[name] for placements in self._held.values() if name in placements]

    async def _stats(self, _request: web.Request) -> web.Response:
        placements = [one for held in self._held.values() for one in held.values()]
        names = dict.fromkeys(one["instance_id"] for one in placements)
        return json_response({
            "num_keys": len(self._held), "num_placements": len(placements),
            "l1_keys_by_instance": {name: len(self._keys_of(name)) for name in names},
            "blend": {"num_contents": 0, "num_chunks": 0, "num_claims": 0, "num_namespaces": 0, "table_size": 1024},
            "l1_count": len(placements), "l1_size_bytes": sum(one["size_bytes"] for one in placements),
            "l2_count": 0, "l2_size_bytes": 0,
        })  # fmt: skip

    async def _usage(self, _request: web.Request) -> web.Response:
        def module(tier: str, backend: str, used: int, capacity: int) -> dict[str, Any]:
            ratio = used / capacity if capacity else None
            return {"tier": tier, "backend": backend, "shared": False, "used_bytes": used,
                    "capacity_bytes": capacity, "usage_ratio": ratio}  # fmt: skip

        found = []
        for name in sorted(self._instances):
            used = sum(one["size_bytes"] for one in self._keys_of(name))
            modules = [module("l1", "dram", used, self._capacity.get(name, 0)), module("l2", "p2p", 0, 0)]
            found.append({"instance_id": name, "registered": True, "declared_capacity": name in self._capacity,
                          "modules": modules})  # fmt: skip
        return json_response({"instances": found, "shared_modules": []})

    async def _lookup(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        chunks = self._hasher.keys(body["token_ids"], body["model_name"], body.get("world_size", 1),
                                   body.get("cache_salt", ""))  # fmt: skip
        results = [self._result(key) for ranks in chunks for key in ranks]
        return json_response({"chunks": len(chunks), "results": results})

    def _result(self, key: Key) -> dict[str, Any]:
        self._asked[key.text] = self._asked.get(key.text, 0) + 1
        return {"key": key.encoded, "placements": list(self._held.get(key.text, {}).values()), "token_ids": [],
                "access_count": self._asked[key.text]}  # fmt: skip

    async def _metrics(self, _request: web.Request) -> web.Response:
        placements = [one for held in self._held.values() for one in held.values()]
        size = sum(one["size_bytes"] for one in placements)
        for name, value in (("lmcache_coordinator_key_directory_placements", len(placements)),
                            ("lmcache_coordinator_key_directory_placement_bytes", size),
                            ("lmcache_mp_key_directory_placement_count", len(placements)),
                            ("lmcache_mp_key_directory_placement_size_bytes", size)):  # fmt: skip
            self._page.put(name, value, tier="l1")
        return web.Response(body=self._page.text(), headers={"Content-Type": "text/plain; charset=utf-8"})
