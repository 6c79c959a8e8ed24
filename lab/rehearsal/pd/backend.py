# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""PDBackend of one rank (pd_backend_mode async, the default): a sender writes chunks into a receiver's buffer.

What a sender does without a look at what it is told, it does here: it dies without a disagg_spec, waits for good for a
receiver that nobody answers for, and keeps the alloc port that it was told first.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from array import array
from collections.abc import Sequence
from typing import Any

from ..host import Host
from ..lmconfig import LMCacheConfig
from ..model import KV_BYTES
from ..store import Key
from ..wire import Client, Message, Server

SPEC_KEYS = ("req_id", "receiver_host", "receiver_init_port", "receiver_alloc_port")
INIT_STEPS = {"init": ("initialization", 270), "memory": ("mem register", 290)}
EXECUTE_LIMIT_S = 300.0  # how long vLLM waits for a step of its worker
TOO_SMALL = (
    "PD receiver buffer too small for req {id}: the request needs {chunks} chunks but the buffer holds only {total} "
    "chunks (pd_buffer_size={size} bytes). This prefill can never be admitted; increase pd_buffer_size to hold at "
    "least {chunks} chunks or reduce the prefill length."
)


class PutFailed(Exception):
    """What the sender's worker dies of: the last line of its traceback."""


class PDBackend:
    """``chunk_bytes`` is a chunk's size in a real engine.  Takes part in lookups like a tier (cache.CacheRank)."""

    def __init__(self, host: Host, config: LMCacheConfig, rank: int, chunk_bytes: int):
        self._config, self._rank, self._log, self._pace = config, rank, host.log, host.pace
        self._chunk_bytes = chunk_bytes
        self.role = config["pd_role"]
        self.kind = "PDBackendAsync" if config["pd_backend_mode"] == "async" else "PDBackend"
        self._total = config["pd_buffer_size"] // chunk_bytes
        self._name = f"sender-pid{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._agent = str(uuid.uuid4())
        # of the receivers that were met, by host and init port, with their agents of that time
        self._allocators: dict[str, tuple[Client, str]] = {}
        self._connecting = asyncio.Lock()
        self._sending: set[asyncio.Task] = set()
        self._chunks: dict[str, array] = {}
        self._servers = [Server(self._serve_init), Server(self._serve_alloc)] if self.role == "receiver" else []

    @staticmethod
    def trouble(config: LMCacheConfig, rank: int, chunk_bytes: int) -> str | None:
        """Why the backend cannot be made: the last line of the traceback."""
        role = config["pd_role"]
        if role not in ("sender", "receiver", "both"):
            return f"AssertionError: Invalid role: {role}, must be sender, receiver, or both"
        if config["pd_buffer_size"] // chunk_bytes == 0:
            return (f"ValueError: pd_buffer_size ({config['pd_buffer_size']}) is smaller than a single chunk "
                    f"({chunk_bytes}), resulting in an aligned buffer of size 0. Please increase pd_buffer_size to be "
                    f"at least {chunk_bytes}.")  # fmt: skip
        wanted = ["pd_peer_host", "pd_peer_init_port", "pd_peer_alloc_port"]
        if role == "sender":  # also where it notifies no proxy
            wanted = ["pd_proxy_host", "pd_proxy_port"]
        if any(config[key] is None for key in wanted):
            return "AssertionError"
        if role == "receiver" and rank >= min(len(config["pd_peer_init_port"]), len(config["pd_peer_alloc_port"])):
            return "IndexError: list index out of range"
        return "ValueError: Invalid PD role." if role == "both" else None

    async def start(self) -> None:
        """A port that cannot be had is not fatal: its loop ends, and nobody is told."""
        say = self._log.say
        if self.role == "receiver":
            size = self._total * self._chunk_bytes
            say("pd_receiver", chunks=self._total, bytes=size, chunk_bytes=self._chunk_bytes)
        say("pd_created", kind=self.kind)
        if self.role == "receiver":
            init, alloc = self._config["pd_peer_init_port"][self._rank], self._config["pd_peer_alloc_port"][self._rank]
            for server, host, port in zip(self._servers, (self._config["pd_peer_host"], "0.0.0.0"), (init, alloc)):
                try:
                    await server.start(host, port)
                except OSError:
                    continue
                if port == alloc:
                    say("pd_alloc_listening", port=port)

    async def close(self) -> None:
        for task in self._sending:
            task.cancel()
        for client, _agent in self._allocators.values():
            client.close()
        for server in self._servers:
            await server.close()

    # ---- the receiver: a tier whose chunks are handed out once

    def contains(self, texts: list[str]) -> int:
        """How many of these keys, from the first, were delivered."""
        for index, text in enumerate(texts):
            if text not in self._chunks:
                return index
        return len(texts)

    def get(self, text: str) -> array:
        """A chunk, which is gone then."""
        return self._chunks.pop(text)

    async def _serve_init(self, message: dict[str, Any], _blob: bytes) -> Message:
        what, line = INIT_STEPS[message["kind"]]
        self._log.say("init_request", what=what, line=line)
        return {"agent": self._agent}, b""

    async def _serve_alloc(self, message: dict[str, Any], blob: bytes) -> Message:
        keys = message["keys"]
        if message["agent"] != self._agent:
            return {"gone": True}, b""
        if len(keys) > self._total:
            size = self._total * self._chunk_bytes
            error = TOO_SMALL.format(id=message["req_id"], chunks=len(keys), total=self._total, size=size)
            self._log.say("pd_refused", sender=message["sender"].encode(), error=error)
            return {"failed": True}, b""
        while len(self._chunks) + len(keys) > self._total:  # pd_allocation_timeout_sec is infinite
            await asyncio.sleep(0.05)
        # handed out from now on, whatever has arrived by then
        self._chunks |= {text: array("Q", bytes(KV_BYTES * length)) for text, length in zip(keys, message["lengths"])}
        await self._pace.take(self._pace.transfer(len(keys) * self._chunk_bytes))
        at = 0
        for text, length in zip(keys, message["lengths"]):
            if text in self._chunks:
                self._chunks[text] = array("Q", blob[at : at + length * KV_BYTES])
            at += length * KV_BYTES
        return {"failed": False}, b""

    # ---- the sender

    async def put(self, chunks: Sequence[tuple[Key, array]], spec: dict[str, Any] | None) -> None:
        """Hands chunks to the receiver that a request names, in the background.

        Raises PutFailed; TimeoutError after minutes where nobody answers at the receiver's init port.
        """
        if self.role != "sender":
            return
        if spec is None:
            if self.kind != "PDBackendAsync":
                return
            error = "'NoneType' object has no attribute 'receiver_init_port'"
            self._log.say("pd_put_failed", error=error)
            raise PutFailed(f"AttributeError: {error}")
        init, alloc = spec["receiver_init_port"][self._rank], spec["receiver_alloc_port"][self._rank]
        receiver = await asyncio.wait_for(self._connected(spec["receiver_host"], init, alloc), EXECUTE_LIMIT_S)
        task = asyncio.create_task(self._send(*receiver, chunks, spec["req_id"]))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _connected(self, host: str, init_port: int, alloc_port: int) -> tuple[Client, str]:
        """A receiver's allocator and its agent: those of the first time, whatever became of it since."""
        async with self._connecting:
            receiver = f"{host}{init_port}"
            if receiver not in self._allocators:
                client = Client(f"{host}:{init_port}")
                try:
                    for kind in INIT_STEPS:
                        answer, _ = await client.ask({"kind": kind, "local_id": self._name})
                finally:
                    client.close()
                await self._pace.take(self._pace.of.handshake_s)
                self._allocators[receiver] = Client(f"{host}:{alloc_port}"), answer["agent"]
            return self._allocators[receiver]

    async def _send(self, allocator: Client, agent: str, chunks: Sequence[tuple[Key, array]],
                    request_id: str) -> None:  # fmt: skip
        keys = [key.text for key, _chunk in chunks]
        message = {"keys": keys, "lengths": [len(chunk) for _key, chunk in chunks], "req_id": request_id,
                   "sender": self._name, "agent": agent}  # fmt: skip
        answer, _ = await allocator.ask(message, b"".join(chunk.tobytes() for _key, chunk in chunks))
        if answer.get("gone"):
            self._log.say("pd_transfer_failed")
        elif answer["failed"]:
            self._log.say("pd_remote_allocation_failed", key=keys[0])
        else:
            return
        self._log.say("pd_abort", id=request_id)
