# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""lmcache server: keeps KV for the engines of its node, finds what they ask for, and gives to peers."""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any

from ..cache import GB, settled
from ..log import Log
from ..store import Pool
from ..wire import Message, Server
from .keys import Key, TokenHasher
from .options import server_options
from .page import Page
from .peers import Peers
from .server_http import ServerSite

MODULES = ("cache", "env", "loglevel", "metrics", "periodic_thread", "run_script", "thread", "common", "config",
           "info", "l1_reconfigure", "quota", "reconfigure")  # fmt: skip
TAG = "_default"
WATERMARK, EVICTED = 0.8, 0.2  # of the memory: where chunks begin to go, once a second; of the chunks: how many


@dataclass
class Session:
    """What a lookup has found for one request: by rank, chunks in order; those of others stay until they are read."""

    chunks: list[list[array]]
    pinned: list[str] = field(default_factory=list)
    temporary: int = 0


class CacheServer:
    """One server; ``env`` is its whole environment, ``stream`` takes its log."""

    def __init__(self, arguments: list[str], env: Mapping[str, str], stream: IO[str]):
        self.options: argparse.Namespace = server_options(arguments, env)
        self.log = Log(stream, level=env.get("LMCACHE_LOG_LEVEL", "INFO"), pid=os.getpid())
        self._env = env
        self.page = Page("server", "unknown_service:python", self.options.instance_id)
        self.incarnation = time.time_ns()
        self.contexts: dict[int, dict[str, Any]] = {}
        self.size = int(self.options.l1_size_gb * GB)
        self.chunk_bytes = 0  # told by the first engine
        self.pool = Pool(0, True, self._announce)
        self.sequence = 0
        self._changes: list[tuple[str, str, int]] = []
        self.sessions: dict[str, Session] = {}
        self._numbers: Counter[str] = Counter()
        self._requests = Server(self._serve)
        self.peers = Peers(self.options, self.log, self._read, self._gauges)
        self._site = ServerSite(self)
        self._tasks: list[asyncio.Task] = []

    async def start(self) -> None:
        """Listens when it returns.  Raises OSError when an address cannot be had."""
        options, say = self.options, self.log.say
        say("mp_banner")
        for module in MODULES:
            say("api_modules", module=f"{module}_api")
        say("mp_http_starts", host=options.http_host, port=options.http_port)
        say("mp_otel", service="unknown_service:python", instance=options.instance_id)
        say("mp_controllers")
        self._hasher = TokenHasher(options.hash_algorithm, options.chunk_size, self._env, self.log)
        await self.peers.start()
        await self._requests.start(options.host, options.port)
        say("mp_server_runs", mode=options.supported_transfer_mode, host=options.host, port=options.port)
        await self._site.start(options.http_host, options.http_port)
        say("mp_uvicorn_runs", host=options.http_host, port=options.http_port)
        self._tasks = [asyncio.create_task(self._flush()), asyncio.create_task(self._tick())]

    async def stop(self) -> None:
        self.log.say("mp_server_stops")
        await settled(self._tasks)
        await self.peers.stop()
        await self._requests.close()
        await self._site.close()
        self.log.say("stopped")

    # ---- what the coordinator hears

    def _announce(self, operation: str, key: Any) -> None:
        self._changes.append((operation, key.text, self.chunk_bytes))
        if operation == "evict":
            self.page.add("lmcache_mp_l1_evicted_chunks", l1_tag=TAG)

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(self.options.coordinator_event_flush_interval)
            if self.options.coordinator_event_reporting and self.peers.registered.is_set():
                changes, self._changes = self._changes, []
                self.sequence += bool(changes)
                await self.peers.send_events({
                    "instance_id": self.options.instance_id, "incarnation": self.incarnation // 10**9,
                    "capacity_bytes": self.size, "events": changes})  # fmt: skip

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self.page.add("lmcache_mp_l1_eviction_loop_ticks")
            used = len(self.pool) * self.chunk_bytes / self.size
            if used >= WATERMARK:
                self.log.say("mp_evicting", used=f"{used:.2f}", watermark=f"{WATERMARK:.2f}")
                for _chunk in range(max(1, int(len(self.pool) * EVICTED))):
                    self.pool.drop()
                self._gauges()

    def _gauges(self) -> None:
        """How much is held, and by how many adapters it could be shared."""
        used, adapters = len(self.pool) * self.chunk_bytes, len(self.peers.adapters)
        where = {"backend": "dram", "l1_tag": TAG}
        self.page.put("lmcache_mp_l1_memory_usage_bytes", used, **where)
        self.page.put("lmcache_mp_l1_usage_ratio", used / self.size, **where)
        self.page.put("lmcache_mp_l2_store_adapters", adapters, l1_tag=TAG, state="active")
        self.page.put("lmcache_mp_l2_prefetch_adapters", adapters, state="active")
        self.page.put("lmcache_mp_l2_usage_bytes", 0.0 if adapters else None, l2_name="p2p")

    # ---- requests of engines and peers

    async def _serve(self, message: dict[str, Any], blob: bytes) -> Message | None:
        answer = getattr(self, f"_on_{message['kind']}")(message, blob)
        return await answer if asyncio.iscoroutine(answer) else answer

    def _on_chunk_size(self, _message: dict[str, Any], _blob: bytes) -> Message:
        return {"chunk_size": self.options.chunk_size}, b""

    def _on_ping(self, _message: dict[str, Any], _blob: bytes) -> Message:
        return {}, b""

    def _on_register(self, message: dict[str, Any], _blob: bytes) -> Message:
        model, size = message["model"], message["world_size"]
        self.contexts[message["instance_id"]] = {
            "model_name": model, "world_size": size, "block_size": message["block_size"], "use_mla": True}  # fmt: skip
        self.chunk_bytes = message["token_bytes"] * self.options.chunk_size
        self.pool.capacity = self.size // self.chunk_bytes
        self.log.say("mp_context", instance=message["instance_id"], model=model, world_size=size)
        return {}, b""

    def _on_store(self, message: dict[str, Any], blob: bytes) -> Message | None:
        """One rank's KV of the chunks behind the first ``skip``; an engine that is not registered waits for good."""
        if message["instance_id"] not in self.contexts:
            self.log.say("mp_unknown_instance", instance=message["instance_id"])
            return None
        began, size, salt = time.perf_counter(), self.options.chunk_size, message["salt"]
        chunks = self._hasher.keys(message["tokens"], message["model"], message["world_size"], salt)
        kv, stored = array("Q", blob), 0
        wanted = [ranks[message["rank"]] for ranks in chunks[message["skip"] :]]
        new = {key.text for key in wanted if not self.pool.contains([key.text])}
        fits = self._visit(len(new))  # all or none of them, which the line below does not tell
        for number, key in enumerate(wanted):
            if not fits or key.text not in new:
                continue
            self.pool.put(key, kv[number * size : (number + 1) * size])
            stored += 1
        if stored:
            self._count_store(stored, salt or None)
        self.log.say("mp_stored", tokens=len(wanted) * size, seconds=f"{time.perf_counter() - began:.3f}")
        return {"stored": True}, b""

    def _count_store(self, chunks: int, salt: str | None) -> None:
        add = self.page.add
        add("lmcache_mp_l1_write_chunks", chunks, cache_salt=salt, l1_tag=TAG)
        if self.peers.adapters:  # each is offered what is stored; a peer's takes nothing, and says so
            add("lmcache_mp_l1_read_chunks", chunks, cache_salt=salt, l1_tag=TAG)
            add("lmcache_mp_l2_store_submitted_requests")
            add("lmcache_mp_l2_store_submitted_objects_chunks", chunks, cache_salt=salt)
            add("lmcache_mp_l2_store_completed_requests", l2_name="p2p")
            add("lmcache_mp_l2_store_completed_objects_chunks", chunks, cache_salt=salt)
        self._gauges()

    async def _on_lookup(self, message: dict[str, Any], _blob: bytes) -> Message:
        """How many tokens are found, and fetched, for a request."""
        model, salt, ranks = message["model"], message["salt"], message["world_size"]
        add, labels = self.page.add, {"cache_salt": salt, "model_name": model}
        chunks = self._hasher.keys(message["tokens"], model, ranks, salt)
        add("lmcache_mp_lookups_requests", **labels)
        if not chunks:
            add("lmcache_mp_lookup_early_exit_requests", **labels, reason="empty_chunk_hashes")
            return {"hit": 0}, b""
        began, size = time.perf_counter(), self.options.chunk_size
        session = self.sessions[message["id"]] = Session([[] for _rank in range(ranks)])
        own = self._take_own(chunks, session)
        if own:
            add("lmcache_mp_l1_read_chunks", own * ranks, cache_salt=salt or None, l1_tag=TAG)
        others = await self._take_others(chunks[own:], session, salt or None) if own < len(chunks) else 0
        add("lmcache_mp_lookup_requested_tokens", len(chunks) * size, **labels)
        add("lmcache_mp_lookup_hit_tokens", (own + others) * size, **labels)
        for tier, hits in (("l1", own), ("l2", others)):
            add(f"lmcache_mp_lookup_hit_{tier}_tokens", hits * size, **labels)
            add(f"lmcache_mp_lookup_hit_{tier}_keys", hits * ranks, **labels)
        self._say_prefetched(message["id"], (own * ranks, others * ranks, len(chunks) * ranks), began)
        return {"hit": (own + others) * size}, b""

    def _say_prefetched(self, request: str, keys: tuple[int, int, int], began: float) -> None:
        """keys: of this server, of others, asked for."""
        own, others, asked = keys
        number = self._numbers["prefetch"]
        self._numbers["prefetch"] += 1
        if own + others:
            self.log.say("mp_prefetched", hits=own + others, asked=asked, l1=own, l2=others, id=request, number=number,
                         ms=f"{(time.perf_counter() - began) * 1000:.1f}")  # fmt: skip

    def _take_own(self, chunks: list[list[Key]], session: Session) -> int:
        """Whole chunks, all ranks', from the first, that are here."""
        for number, ranks in enumerate(chunks):
            texts = [key.text for key in ranks]
            if self.pool.contains(texts) < len(texts):
                return number
            self.pool.pin(texts)
            session.pinned += texts
            for rank, text in enumerate(texts):
                session.chunks[rank].append(self.pool.get(text))
        return len(chunks)

    async def _take_others(self, chunks: list[list[Key]], session: Session, salt: str | None) -> int:
        """Whole chunks that follow, read from the peer that has most of them."""
        add, keys = self.page.add, [key for ranks in chunks for key in ranks]
        if not self.peers.adapters:
            return 0
        add("lmcache_mp_l2_prefetch_lookup_requests")
        add("lmcache_mp_l2_prefetch_lookup_objects_chunks", len(keys), cache_salt=salt)
        adapters, ranks = list(self.peers.adapters.values()), len(chunks[0])
        held = await asyncio.gather(*(adapter.contains(keys) for adapter in adapters))
        whole = [[all(one[start : start + ranks]) for start in range(0, len(keys), ranks)] for one in held]
        hits = [one.index(False) if False in one else len(one) for one in whole]
        best = max(range(len(adapters)), key=lambda index: hits[index])
        if not hits[best]:
            return 0
        adapter, wanted, began = adapters[best], keys[: hits[best] * ranks], time.perf_counter()
        add("lmcache_mp_l2_prefetch_load_submitted_requests")
        add("lmcache_mp_l2_prefetch_load_submitted_objects_chunks", len(wanted))
        found = await adapter.load(wanted, self.options.p2p_load_timeout) if self._visit(len(wanted)) else []
        if not found:
            return 0
        seconds = time.perf_counter() - began
        add("lmcache_mp_l2_load_completed_requests", l2_name=adapter.name)
        add("lmcache_mp_l2_prefetch_load_completed_chunks", len(found))
        self.page.observe("lmcache_mp_l2_load_throughput_GB_per_second",
                          len(found) * self.chunk_bytes / seconds / GB, l2_name=adapter.name)  # fmt: skip
        for name in ("write", "read"):
            add(f"lmcache_mp_l1_{name}_chunks", len(found), cache_salt=salt, l1_tag=TAG)
        for number, chunk in enumerate(found):
            session.chunks[number % ranks].append(chunk)
        session.temporary = len(found)
        return hits[best]

    def _visit(self, chunks: int) -> bool:
        """Room for what comes from a peer, which is a copy for one reading."""
        for reserved in range(chunks):
            if self.pool.is_full or not self.pool.reserve():
                self.pool.release(reserved)
                return False
        return True

    def _on_retrieve(self, message: dict[str, Any], _blob: bytes) -> Message:
        """One rank's KV of what its request's lookup found."""
        session = self.sessions.get(message["id"])
        chunks = session.chunks[message["rank"]] if session else []
        tokens = sum(map(len, chunks))
        self.log.say("mp_retrieved", tokens=tokens, seconds=f"{tokens * 1e-6:.3f}")
        return {"tokens": tokens}, b"".join(chunk.tobytes() for chunk in chunks)

    def _on_end(self, message: dict[str, Any], _blob: bytes) -> None:
        """The request is done: copies from others are dropped, locks released."""
        session = self.sessions.pop(message["id"], None)
        if session is None:
            return
        self.pool.unpin(session.pinned)
        if session.temporary:
            self.pool.release(session.temporary)
            self.sequence += 1
            self.page.add("lmcache_mp_l1_evicted_chunks", session.temporary, l1_tag=TAG)
            self.page.add("lmcache_mp_kv_events_log_depth")

    # ---- requests of peers

    def _on_p2p_lookup(self, message: dict[str, Any], _blob: bytes) -> Message:
        """What is here is kept until it is unlocked."""
        began, keys = time.perf_counter(), message["keys"]
        held = [bool(self.pool.contains([text])) for text in keys]
        found = [text for text, here in zip(keys, held) if here]
        self.pool.pin(found)
        if found:
            self.page.add("lmcache_mp_l1_read_chunks", len(found), cache_salt=Key.of(found[0]).salt or None, l1_tag=TAG)
        number = self._numbers["p2p"]
        self._numbers["p2p"] += 1
        self._say_prefetched(f"p2p-{number}", (len(found), 0, len(keys)), began)
        return {"held": held}, b""

    def _on_p2p_unlock(self, message: dict[str, Any], _blob: bytes) -> None:
        self.pool.unpin(message["keys"])

    async def _read(self, message: dict[str, Any], _blob: bytes) -> Message:
        """The transfer channel: the handshake, and one-sided reads."""
        if message["kind"] != "read":
            return {}, b""
        chunks = [self.pool.get(text) for text in message["keys"]]
        return {"lengths": [len(chunk) for chunk in chunks]}, b"".join(chunk.tobytes() for chunk in chunks)
