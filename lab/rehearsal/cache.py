# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""LMCache of one rank: the backends it creates at start, what it stores, finds, fetches and loads."""

from __future__ import annotations

import asyncio
import errno
import os
import uuid
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from . import faults
from .hashing import ChunkHasher
from .host import Host
from .lmconfig import LMCacheConfig
from .pd.backend import PDBackend
from .peer import PeerBackend
from .settings import DTYPE_NAMES
from .stats import LMCacheStats
from .store import DiskStore, Key, Pool, SharedStore
from .worker import ControllerWorker

GB = 2**30


@dataclass
class Prefetched:
    """What a lookup has fetched for a request: chunks in order, and how many of them came from a peer."""

    chunks: list[array] = field(default_factory=list)
    from_peer: int = 0
    pinned: list[str] = field(default_factory=list)


class CacheRank:
    """One worker's LMCacheEngine.  ``state``: ok, init-failed (no backends), off (the worker part is missing)."""

    def __init__(self, host: Host, config: LMCacheConfig, hasher: ChunkHasher, rank: int):
        self._host, self.options, self.config, self.rank = host, host.options, config, rank
        self._hasher, self._pace, self._log = hasher, host.pace, host.log
        self.stats = LMCacheStats(host.page, rank)
        self.state = "ok"
        self.shape = host.shape
        self.heads = max(1, self.shape.heads // self.options.world_size)
        self.token_bytes = 2 * self.shape.layers * self.heads * self.shape.head_size * self.options.element_bytes
        self.chunk_bytes = self.token_bytes * config["chunk_size"]
        self.worker: ControllerWorker | None = None
        if config["enable_controller"]:
            self.worker = ControllerWorker(host, config, rank)
        capacity = int(config["max_local_cpu_size"] * GB) // self.chunk_bytes
        self.pool = Pool(capacity, config["local_cpu"], self._announce)
        if self.worker:
            self.worker.pool = self.pool
        self.peers: PeerBackend | None = None
        self.pd: PDBackend | None = None
        self.disk: DiskStore | None = None
        self.remote: SharedStore | None = None
        self._fetched: dict[str, Prefetched] = {}
        self._objects = 0

    def _announce(self, operation: str, number: int) -> None:
        if self.worker:
            self.worker.announce(operation, number)

    # ---- start

    async def start_worker(self) -> None:
        """Raises what ControllerWorker.start raises."""
        if self.worker:
            await self.worker.start()

    async def start_backends(self) -> None:
        """Post-initialisation; a failure leaves the engine degraded, which only its log and its API tell."""
        log, config = self._log, self.config
        log.say("kv_caches")
        log.say("post_init", worker=self.rank)
        if config["enable_pd"]:
            await self._start_pd()
            return
        if not self.worker:
            log.say("no_controller_sender")
        if config["enable_p2p"]:
            size = int(config["max_local_cpu_size"] * GB)
            log.say("paged_pool", origin=size, aligned=self.pool.capacity * self.chunk_bytes,
                    chunk_bytes=self.chunk_bytes, layers=self.shape.layers, chunk_size=config["chunk_size"],
                    hidden=self.heads * self.shape.head_size, dtype=f"torch.{self.options.kv_dtype}")  # fmt: skip
            cause = self._channel_trouble()
            if cause:
                log.say("post_init_failed", cause=cause)
                self.state = "init-failed"
                return
            self.peers = PeerBackend(self._host, config, self.rank, pool=self.pool, worker=self.worker,
                                     stats=self.stats, chunk_bytes=self.chunk_bytes)  # fmt: skip
            await self.peers.start()
        if config["local_disk"] and config["max_local_disk_size"] > 0:
            self.disk = DiskStore(int(config["max_local_disk_size"] * GB) // self.chunk_bytes)
        if config["remote_url"]:
            log.say("remote_url_deprecated")
            self.remote = SharedStore(config["remote_url"], self._pace.of.shared_dir)
        for name in self.backends():
            log.say("backend_created", name=name)
        log.say("health_monitor")

    async def _start_pd(self) -> None:
        """The PD backend is the only one."""
        log = self._log
        cause = PDBackend.trouble(self.config, self.rank, self.chunk_bytes)
        if cause is None:
            log.say("pd_pool", layers=self.shape.layers, chunk_size=self.config["chunk_size"], heads=self.heads,
                    head_size=self.shape.head_size, dtype=f"torch.{self.options.kv_dtype}",
                    chunk_bytes=self.chunk_bytes)  # fmt: skip
            cause = self._channel_trouble()
        if cause:
            log.say("post_init_failed", cause=cause)
            self.state = "init-failed"
            return
        self.pd = PDBackend(self._host, self.config, self.rank, self.chunk_bytes)
        await self.pd.start()
        log.say("health_monitor")

    def _channel_trouble(self) -> str | None:
        """Why the transfer channel cannot be made: the last line of the traceback."""
        if self.config["transfer_channel"] != "nixl":
            return f"ValueError: Unsupported channel type: {self.config['transfer_channel']}"
        backends = self.config["nixl_backends"] or ["UCX"]
        agent = uuid.uuid4()
        for backend in backends:
            if backend != "UCX":
                self._log.say("nixl_backend_missing", backend=backend, agent=agent)
                return "nixl_cu12._bindings.nixlNotFoundError: NIXL_ERR_NOT_FOUND"
        self._log.say("nixl_up", agent=agent)
        return None

    def components_failed(self, error: OSError | IndexError) -> None:
        """The worker could not be made: this rank has no LMCache at all."""
        self.state = "off"
        cause = f"IndexError: {error}"
        if isinstance(error, OSError):
            address = error.filename or f"tcp://*:{self.config['lmcache_worker_ports'][self.rank]}"
            cause = f"zmq.error.ZMQError: {os.strerror(error.errno or errno.EADDRINUSE)} (addr='{address}')"
        self._log.say("components_failed", cause=cause)

    async def close(self) -> None:
        if self.pd:
            await self.pd.close()
        if self.peers:
            await self.peers.close()
        if self.worker:
            await self.worker.close()

    def backends(self) -> list[str]:
        """Their names."""
        if self.pd:
            return ["PDBackend"]
        found = ["LocalCPUBackend"] if self.config["max_local_cpu_size"] > 0 else []
        return found + [name for name, one in (("P2PBackend", self.peers), ("LocalDiskBackend", self.disk),
                                               ("RemoteBackend", self.remote)) if one]  # fmt: skip

    def kv_shape(self) -> tuple[int, ...]:
        return (self.shape.layers, 2, self.config["chunk_size"], self.heads, self.shape.head_size)

    # ---- keys

    def keys(self, tokens: list[int], request: dict[str, Any] | None) -> list[tuple[int, Key]]:
        """(end, key) of every chunk; tags of the request are part of the key."""
        tags = tuple((name[len("lmcache.tag."):], value) for name, value in (request or {}).items()
                     if name.startswith("lmcache.tag."))  # fmt: skip
        dtype = DTYPE_NAMES.get(self.options.kv_dtype, self.options.kv_dtype)
        return [(end, Key(self.options.model, self.options.world_size, self.rank, number, dtype, tags))
                for end, number in self._hasher.chunks(tokens, self.config["save_unfull_chunk"])]  # fmt: skip

    # ---- lookup

    async def prefetch(self, lookup_id: str, keys: list[tuple[int, Key]]) -> int:
        """Asynchronous lookup: finds the prefix tier by tier, fetches it, and returns its tokens."""
        found, left = Prefetched(), [key for _end, key in keys]
        fetching = []
        for tier in self._tiers():
            if tier is self.peers:
                chunks, peer = await self.peers.contains(lookup_id, left)
                fetch = self._from_peer(lookup_id, left[:chunks], peer, found) if chunks else None
            else:
                chunks = tier.contains([key.text for key in left])
                fetch = self._from_tier(tier, left[:chunks], found) if chunks else None
            if not chunks:
                continue
            fetching.append((chunks, fetch))
            left = left[chunks:]
            if not left:
                break
        if not fetching:
            return 0
        for chunks, fetch in fetching:
            if await fetch < chunks:
                break  # what comes behind a gap is of no use
        self._close_unused(fetching)
        tokens = keys[len(found.chunks) - 1][0] if found.chunks else 0
        self._log.say("responded", id=lookup_id, length=tokens)
        self._fetched[lookup_id] = found
        return tokens

    @staticmethod
    def _close_unused(fetching: list) -> None:
        for _chunks, fetch in fetching:
            fetch.close()

    def _tiers(self) -> list[Any]:
        return [tier for tier in (self.pool, self.peers, self.disk, self.remote) if tier is not None]

    async def _from_peer(self, lookup_id: str, keys: list[Key], peer: str, found: Prefetched) -> int:
        chunks = await self.peers.get(lookup_id, keys, peer)
        found.chunks += chunks
        found.from_peer += len(chunks)
        return len(chunks)

    async def _from_tier(self, tier: Any, keys: list[Key], found: Prefetched) -> int:
        texts = [key.text for key in keys]
        if tier is self.pool:
            self.pool.pin(texts)
            found.pinned += texts
        found.chunks += [tier.get(text) for text in texts]
        if tier is self.remote:
            self.stats.count("num_remote_read_requests", len(texts))
            self.stats.count("num_remote_read_bytes", len(texts) * self.chunk_bytes)
        return len(texts)

    def lookup(self, lookup_id: str, keys: list[tuple[int, Key]], tokens: int) -> int:
        """Synchronous lookup, in which the P2P backend never contains anything."""
        if self.state != "ok":
            self._log.say("unhealthy", operation="lookup")
            return 0
        found, texts = Prefetched(), [key.text for _end, key in keys]
        for tier in (self.pool, self.pd, self.disk, self.remote):
            if tier is not None and texts:
                chunks = tier.contains(texts)
                found.chunks += [tier.get(text) for text in texts[:chunks]]
                texts = texts[chunks:]
        hit = keys[len(found.chunks) - 1][0] if found.chunks else 0
        self.stats.lookup(tokens, hit)
        self._fetched[lookup_id] = found
        return hit

    def forget(self, lookup_id: str) -> None:
        """Drops what was fetched for a request that no longer wants it."""
        found = self._fetched.pop(lookup_id, None)
        if found:
            self.pool.unpin(found.pinned)

    # ---- load and store

    async def retrieve(self, request_id: str, hit: int, computed: int) -> list[array]:
        """Loads what the lookup found into the engine's cache; ``computed`` tokens are there already.

        Returns all chunks up to ``hit``, fewer when the load failed.
        """
        found = self._fetched.pop(request_id, Prefetched())
        size = self.config["chunk_size"]
        masked = computed // size * size
        wanted = found.chunks[: -(-hit // size)]
        if self._pace.of.fault == "load-fails":
            wanted = []
        tokens = sum(map(len, wanted))
        seconds = await self._pace.take(self._pace.load(max(0, tokens - masked) * self.token_bytes))
        got, amount = max(0, tokens - masked), max(0, tokens - masked) * self.token_bytes / GB
        self.stats.retrieve(hit - masked, got, seconds)
        self._log.say("retrieved", id=request_id, tokens=got, required=hit - masked, total=hit,
                      size=f"{amount:.4f}", cost=f"{seconds * 1000:.4f}", speed=f"{amount / seconds:.4f}")  # fmt: skip
        self.pool.unpin(found.pinned)
        if self.config["enable_async_loading"]:
            for _ in range(min(found.from_peer, len(wanted))):
                self._log.say("double_free", index=self._objects % max(1, self.pool.capacity))
                self._objects += 1
        return faults.loaded(self._pace.of.fault, wanted)

    async def store(self, request_id: str, keys: list[tuple[int, Key]], kv: array, skip: int,
                    spec: Any = None) -> None:  # fmt: skip
        """Stores the chunks behind the first ``skip`` tokens; says so even where nothing is kept.

        spec: the request's disagg_spec, which a PD backend sends them by.  Raises PutFailed.
        """
        if self.state != "ok":
            if self.state == "init-failed":
                self._log.say("unhealthy", operation="store")
            return
        total = keys[-1][0] - skip
        start, chunks = skip, []
        for end, key in keys:
            if end <= skip:
                continue
            if not self.pool.reserve():
                self._log.say("memory_pressure", chunks=len(chunks))
                self.stats.count("local_cpu_evict_failed_count")
                break
            chunks.append((key, kv[start:end]))
            start = end
        if not chunks:
            return
        amount = (start - skip) * self.token_bytes
        offload = await self._pace.take(self._pace.load(amount))
        if self.pd:
            self.pool.release(len(chunks))
            await self.pd.put(chunks, spec)
        for key, chunk in () if self.pd else chunks:
            self.pool.put(key, chunk)
            for tier in (self.disk, self.remote):
                if tier:
                    tier.put(key, chunk)
        if self.remote:
            self.stats.count("num_remote_write_requests", len(chunks))
            self.stats.count("num_remote_write_bytes", amount)
        if self.pool.evicted:
            self.stats.count("local_cpu_evict_count")
            self.stats.count("local_cpu_evict_keys_count", self.pool.evicted)
            self.pool.evicted = 0
        put = offload * 0.05
        seconds = offload + put
        self.stats.store(start - skip, seconds, offload, put)
        self._log.say("stored", id=request_id, tokens=start - skip, total=total, size=f"{amount / GB:.4f}",
                      cost=f"{seconds * 1000:.4f}", speed=f"{amount / GB / seconds:.4f}",
                      offload=f"{offload * 1000:.4f}", put=f"{put * 1000:.4f}")  # fmt: skip


async def settled(tasks: Sequence[asyncio.Future]) -> None:
    """Cancels tasks and waits for their end."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
