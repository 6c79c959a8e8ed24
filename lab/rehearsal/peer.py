# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""P2PBackend of one rank: asks the controller who holds a prefix, fetches it from there, and serves others."""

from __future__ import annotations

import asyncio
import os
import time
from array import array
from typing import Any

from . import faults
from .host import Host
from .lmconfig import LMCacheConfig
from .model import KV_BYTES
from .stats import LMCacheStats
from .store import Key, Pool
from .wire import Client, Message, NoReply, Server
from .worker import ControllerWorker

#: the init channel's three requests, what each is answered with and where LMCache says so
INIT_STEPS = {"init": ("initialization", 270), "memory": ("mem register", 290), "side": ("P2P init side", 293)}
RETRIES = 3


class PeerBackend:
    """``chunk_bytes`` is a chunk's size in a real engine; it decides how long a transfer takes."""

    def __init__(self, host: Host, config: LMCacheConfig, rank: int, *, pool: Pool, worker: ControllerWorker,
                 stats: LMCacheStats, chunk_bytes: int):  # fmt: skip
        self._config, self._pool, self._worker, self._log = config, pool, worker, host.log
        self._stats, self._pace, self._chunk_bytes = stats, host.pace, chunk_bytes
        self._listen = host.ip if host.parameters.fault == "listen-elsewhere" else config["p2p_host"]
        self._ports = (config["p2p_init_ports"][rank], config["p2p_lookup_ports"][rank])
        self.init_url, self.lookup_url = (f"{config['p2p_host']}:{port}" for port in self._ports)
        self._limit = config.extra("p2p_socket_recv_timeout_ms", 30_000) / 1000
        self._peers: dict[str, Client] = {}  # init URL → connection to the peer's lookup port
        self._connecting = asyncio.Lock()
        self._receivers: set[str] = set()  # peers that went through our init channel
        self._serving = asyncio.Lock()  # one request at a time, as a REP socket does
        self._transfers = 0
        self._servers = [Server(self._serve_init), Server(self._serve_lookup)]
        self._retrying: asyncio.Task | None = None

    # ---- the holder's side

    async def start(self) -> None:
        """An address that cannot be had is not fatal: the init channel stays silent, the other one is retried."""
        try:
            await self._servers[0].start(self._listen, self._ports[0])
            self._log.say("p2p_init_loop")
        except OSError:
            pass  # LMCache loses this error in a future nobody looks at
        self._retrying = asyncio.create_task(self._listen_for_peers())
        await asyncio.sleep(0)

    async def _listen_for_peers(self) -> None:
        while True:
            self._log.say("p2p_listening", address=self.lookup_url)
            if self._pace.of.fault == "lookup-port-shut":
                return
            try:
                await self._servers[1].start(self._listen, self._ports[1])
                return
            except OSError as exc:
                self._log.say("p2p_handler_crashed", error=os.strerror(exc.errno or 0) if exc.errno else exc,
                              address=self.lookup_url)  # fmt: skip
                await asyncio.sleep(0.1)

    async def close(self) -> None:
        if self._retrying:
            self._retrying.cancel()
        for client in self._peers.values():
            client.close()
        for server in self._servers:
            await server.close()

    async def _serve_init(self, message: dict[str, Any], _blob: bytes) -> Message:
        what, line = INIT_STEPS[message["kind"]]
        if message["kind"] == "memory":
            self._receivers.add(message["local_id"])
        self._log.say("init_request", what=what, line=line)
        return {"peer_lookup_url": self.lookup_url}, b""

    async def _serve_lookup(self, message: dict[str, Any], _blob: bytes) -> Message:
        async with self._serving:
            began = time.perf_counter()
            number, self._transfers = self._transfers, self._transfers + 1
            answer = await self._give(message)
            self._log.say("transfer_finished", n=number)
            seconds = time.perf_counter() - began
            tokens = len(message["keys"]) * self._config["chunk_size"]
            self._stats.time("p2p_time_to_transfer", seconds)
            self._stats.time("p2p_transfer_speed", tokens / seconds)
            return answer

    async def _give(self, message: dict[str, Any]) -> Message:
        lookup_id, keys = message["lookup_id"], message["keys"]
        self._log.say("peer_asked", id=lookup_id)
        if self._pace.of.fault == "peer-hangs":
            await asyncio.Event().wait()
        if message["receiver_id"] not in self._receivers:
            self._log.say("receiver_unknown", receiver=message["receiver_id"])
            return {"error": "REMOTE_XFER_HANDLER_NOT_INITIALIZED"}, b""
        hits = faults.kept(self._pace.of.fault, self._pool.contains(keys))
        if not hits:  # LMCache cannot write an empty list
            self._log.say("peer_get_failed", id=lookup_id)
            return {"error": "P2P_SERVER_ERROR"}, b""
        self._pool.pin(keys[:hits])
        chunks = [self._pool.get(text) for text in keys[:hits]]
        await self._pace.take(self._pace.transfer(hits * self._chunk_bytes))
        self._pool.unpin(keys[:hits])
        return {"chunks": hits, "lengths": [len(chunk) for chunk in chunks]}, b"".join(c.tobytes() for c in chunks)

    # ---- the receiver's side

    async def contains(self, lookup_id: str, keys: list[Key]) -> tuple[int, str]:
        """How many chunks a peer holds, and that peer's init URL."""
        layout = await self._worker.lookup([key.hash for key in keys])
        instance, location, chunks, peer = layout
        self._log.say("layout", instance=instance, location=location, chunks=chunks, peer=peer)
        if chunks:
            await self._connect(peer)
        return chunks, peer

    async def _connect(self, peer: str, again: bool = False) -> None:
        """Goes through a peer's init channel; for as long as it takes, as LMCache does."""
        if peer in self._peers and not again:
            return
        async with self._connecting:
            if peer in self._peers and not again:
                return
            client = Client(peer)
            try:
                for kind in INIT_STEPS:
                    answer, _ = await client.ask({"kind": kind, "local_id": self.init_url})
            finally:
                client.close()
            await self._pace.take(self._pace.of.handshake_s)
            if peer in self._peers:
                self._peers[peer].close()
            self._peers[peer] = Client(answer["peer_lookup_url"])
        self._log.say("peer_connected", init=peer, lookup=answer["peer_lookup_url"])

    async def get(self, lookup_id: str, keys: list[Key], peer: str) -> list[array]:
        """The chunks a peer gives for these keys, from the first; none after an error."""
        message = {"kind": "get", "lookup_id": lookup_id, "receiver_id": self.init_url,
                   "keys": [key.text for key in keys]}  # fmt: skip
        reserved = 0
        try:
            for _ in keys:
                await self._room()
                reserved += 1
            answer, blob = await self._ask(message, lookup_id, peer)
        finally:
            self._pool.release(reserved)
        if answer is None:
            return []
        if "error" in answer:
            self._log.say("peer_error", id=lookup_id, code=answer["error"])
            return []
        chunks, at = [], 0
        for length in answer["lengths"]:
            chunks.append(array("Q", blob[at : at + length * KV_BYTES]))
            at += length * KV_BYTES
        return chunks

    async def _room(self) -> None:
        while not self._pool.reserve():
            self._log.say("no_eviction_candidates")
            await asyncio.sleep(0.1)

    async def _ask(self, message: dict[str, Any], lookup_id: str, peer: str) -> tuple[dict[str, Any] | None, bytes]:
        for count in range(1, RETRIES + 1):
            try:
                answer, blob = await self._peers[peer].ask(message, limit_s=self._limit)
            except NoReply:
                self._log.say("peer_socket_error", id=lookup_id)
                await self._connect(peer, again=True)
                if count == RETRIES:
                    self._log.say("retry_exhausted", id=lookup_id)
                    return None, b""
                continue
            if answer.get("error") != "REMOTE_XFER_HANDLER_NOT_INITIALIZED" or count == RETRIES:
                return answer, blob
            self._log.say("peer_not_initialized", id=lookup_id, count=count)
            await self._connect(peer, again=True)
        return None, b""
