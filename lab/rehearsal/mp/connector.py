# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""LMCacheMPConnector: an engine's side, which leaves lookups, stores and loads to the cache server of its node.

The worker waits up to five minutes for a server that does not answer, and the engine with it.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from array import array
from typing import TYPE_CHECKING, Any

from ..cache import settled
from ..connector import KVConnector, Load
from ..host import Host
from ..wire import Client, NoReply

if TYPE_CHECKING:
    from ..scheduler import Request

EXTRA = {"mq_timeout": 300.0, "heartbeat_interval": 10.0, "nonblocking_lookup_status": True, "mp_transfer_mode": "auto",
         "isolated_ipc": False, "use_vmm_api": False, "hash_algorithm": "blake3"}  # fmt: skip


class MPConnector(KVConnector):
    """One engine's connector over all its ranks, each of which registers with the server."""

    def __init__(self, host: Host, engine_id: str):
        self._host, self._log, self._engine_id = host, host.log, engine_id
        told = (host.options.connector or {}).get("kv_connector_extra_config") or {}
        self._settings = {name: told.get(f"lmcache.mp.{name}", usual) for name, usual in EXTRA.items()}
        address, port = told.get("lmcache.mp.host", "tcp://localhost"), told.get("lmcache.mp.port", 5555)
        self._client = Client(f"{address}:{port}")
        self._limit = float(self._settings["mq_timeout"])
        self._ranks = host.options.world_size
        self._instances = [secrets.randbits(61) for _rank in range(self._ranks)]
        self._heads = max(1, host.shape.heads // self._ranks)
        self._size = 256
        self.healthy = True
        self._wedged = asyncio.Lock()  # held for good by a request that waits for a server that is gone
        self._beating: asyncio.Task | None = None

    # ---- start

    async def start(self) -> None:
        """Takes the chunk size from its server, for which it waits."""
        say, block = self._log.say, self._host.options.block_size
        model, engine_id = self._host.options.model, self._engine_id
        for instance in self._instances:
            say("mp_connector_worker", engine_id=engine_id, block_size=block, model=model)
            self._say_settings()
            say("mp_worker_adapter", instance=instance)
        answer, _ = await self._client.ask({"kind": "chunk_size"})
        self._size = answer["chunk_size"]
        for rank in range(self._ranks):
            await self._register(rank)
            say("mp_context_registered", instance=self._instances[rank])
        say("vllm_init_took", seconds="0.42")
        say("mp_connector_scheduler", engine_id=engine_id, block_size=block, model=model)
        self._say_settings()
        say("mp_scheduler_ready")
        self._beating = asyncio.create_task(self._beat())

    def _say_settings(self) -> None:
        for name, value in self._settings.items():
            self._log.say("mp_setting", name=name, value=value)

    async def _register(self, rank: int, limit_s: float | None = None) -> None:
        host = self._host
        token_bytes = 2 * host.shape.layers * self._heads * host.shape.head_size * host.options.element_bytes
        await self._client.ask({
            "kind": "register", "instance_id": self._instances[rank], "model": host.options.model,
            "world_size": self._ranks, "rank": rank, "block_size": host.options.block_size,
            "token_bytes": token_bytes}, limit_s=limit_s)  # fmt: skip

    async def close(self) -> None:
        await settled([self._beating] if self._beating else [])
        self._client.close()

    async def _beat(self) -> None:
        """Without an answer the connector is degraded, and asks its server for nothing until it is back."""
        every, say = float(self._settings["heartbeat_interval"]), self._log.say
        for _process in range(1 + self._ranks):
            say("mp_beats", interval=every)
        while True:
            await asyncio.sleep(every)
            try:
                await self._client.ask({"kind": "ping"}, limit_s=every)
                if not self.healthy:
                    say("mp_server_back")
                    for rank in range(self._ranks):
                        await self._register(rank, limit_s=every)
                    say("mp_recovered")
                    self.healthy = True
            except NoReply:
                if self.healthy:
                    say("mp_degraded")
                self.healthy = False

    async def _ask(self, message: dict[str, Any], blob: bytes = b"") -> tuple[dict[str, Any], bytes] | None:
        """The server's answer, None when it gives none; all other requests wait as long as this one does."""
        async with self._wedged:
            if not self.healthy:
                return None
            try:
                return await self._client.ask(message, blob, limit_s=self._limit)
            except NoReply:
                return None

    # ---- one request

    def _named(self, request: Request, tokens: list[int]) -> dict[str, Any]:
        return {"id": request.id, "model": self._host.options.model, "world_size": self._ranks,
                "salt": request.salt or "", "tokens": tokens}  # fmt: skip

    async def matched(self, request: Request, computed: int, skips_reading: bool) -> Load:
        """Looks a prompt up.  ``skips_reading`` (prompt_logprobs): vLLM reads no KV for such a request."""
        began, hit = time.perf_counter(), 0
        if not skips_reading:
            answer = await self._ask({"kind": "lookup", **self._named(request, request.tokens)})
            hit = answer[0]["hit"] if answer else 0
            self._host.page.observe("vllm:lmcache_mp_lookup_duration_seconds", time.perf_counter() - began)
        # the last token is always computed
        need = max(0, min(hit, len(request.tokens) - 1) - computed)
        if (request.params or {}).get("cached_token_stats") is True:
            request.answered = {"cached_token_stats": {
                "num_vllm_cached_tokens": computed, "num_lmcache_cached_tokens": hit,
                "num_lmcache_extra_cached_tokens": max(0, hit - computed)}}  # fmt: skip
        if not need:
            self.forget(request.id)
        return Load(hit, need, True)

    def forget(self, request_id: str) -> None:
        """Tells the server that the request wants no more of what was found."""
        if self.healthy:
            self._client.send({"kind": "end", "id": request_id})

    async def load(self, request_id: str, load: Load, computed: int, kv: array) -> array:
        """KV of the first ``load.hit`` tokens; of less, where the server no longer gives it."""
        arrived = []
        for rank in range(self._ranks):
            answer = await self._ask({"kind": "retrieve", "id": request_id, "rank": rank})
            arrived.append(array("Q", answer[1]) if answer else array("Q"))
        self.forget(request_id)
        await self._host.pace.take(self._host.pace.load(load.need * self._heads))
        found = array("Q", kv)
        found.extend(min(arrived, key=len)[computed : computed + load.need])
        return found

    async def save(self, request: Request, tokens: list[int], kv: array, *, saved: int, last: bool) -> int:
        """Leaves the whole chunks behind ``saved`` tokens to the server; returns how many tokens are saved now."""
        size = self._size
        skip, whole = saved // size, len(tokens) // size
        if whole <= skip:
            return saved
        self._log.say("mp_engine_format")
        message = {"kind": "store", **self._named(request, tokens[: whole * size]), "skip": skip}
        broken = [1] if self._host.parameters.fault == "rank-stores-nothing" else []
        for rank in set(range(self._ranks)).difference(broken):
            await self._ask(
                {**message, "rank": rank, "instance_id": self._instances[rank]},
                kv[skip * size : whole * size].tobytes(),
            )
        return whole * size
