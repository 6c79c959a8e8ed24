# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""NixlConnector (pull): a prefill engine keeps a request's blocks for a while, a decode engine reads them there.

Blocks are read by their numbers and nobody looks whose they are by now, as with RDMA: what was released and given to
another request is read all the same, and is another prompt's.  What workers count is published with the next request.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import time
import uuid
from array import array
from typing import TYPE_CHECKING, Any

from .. import faults
from ..cache import settled
from ..connector import EngineDead, KVConnector, Load, LoadFailed
from ..host import Host
from ..model import KV_BYTES
from ..wire import Client, Message, NoReply, Server

if TYPE_CHECKING:
    from ..scheduler import Request

HANDSHAKE_LIMIT_S = 5.0
READ_LIMIT_S = 5.0
LEASE_S = 30.0
STEP_S = 0.2  # between steps of an engine that has blocks to keep and nothing else to do
WHERE = ("remote_engine_id", "remote_request_id", "remote_host", "remote_port")


class NixlConnector(KVConnector):
    """One engine's connector.  ``kv_blocks``: how many blocks its own cache has."""

    source = "p2p"
    counts_at_admission = True

    def __init__(self, host: Host, engine_id: str, kv_blocks: int):
        self._host, self._log, self._page, self.engine_id = host, host.log, host.page, engine_id
        options = host.options
        extra = (options.connector or {}).get("kv_connector_extra_config") or {}
        self._lease_s = float(extra.get("kv_lease_duration", LEASE_S))
        self._enforced = extra.get("enforce_handshake_compat", True)
        self._block = options.block_size
        self._heads = host.shape.heads
        token_bytes = 2 * host.shape.layers * self._heads * host.shape.head_size * options.element_bytes
        self._block_bytes = token_bytes * self._block
        self._side = (host.env.get("VLLM_NIXL_SIDE_CHANNEL_HOST", "localhost"),
                      int(host.env.get("VLLM_NIXL_SIDE_CHANNEL_PORT", 5600)))  # fmt: skip
        self._free = list(range(kv_blocks - 1, 0, -1))  # the one released last is taken first
        self._contents: dict[int, array] = {}
        self._held: dict[str, list[int]] = {}  # blocks of requests that run or are kept for others
        self._leases: dict[str, float] = {}  # until when they are kept
        self._notified: list[str] = []  # requests whose blocks were read, not yet looked at
        self._counted: list[tuple[str, float | None]] = []  # a counter's rise, or a histogram's value
        self._pulled: dict[str, array | None] = {}  # what came for a request, None where nothing did
        self._remotes: dict[str, Client] = {}
        self._handshaking = asyncio.Lock()
        self._servers = [Server(self._serve_side), Server(self._serve_read)]
        self._tasks: list[asyncio.Task] = []

    # ---- start

    async def start(self) -> None:
        """A side channel that cannot be had leaves vLLM waiting for good."""
        say, agent = self._log.say, uuid.uuid4()
        role = (self._host.options.connector or {}).get("kv_role", "kv_both")
        for who, line in (("W", "nixl_worker"), ("E", "nixl_scheduler")):
            say(f"nixl_factory_{who}", engine_id=self.engine_id)
            if role == "kv_both":
                say(f"nixl_kv_both_{who}")
            say(line, engine_id=self.engine_id)
            if who == "W":
                say("nixl_up", agent=agent)
                say("nixl_registering")
                say("vllm_init_took", seconds="0.42")
        await self._servers[1].start(self._host.ip, 0)
        host = self._host.ip if self._host.parameters.fault == "listen-elsewhere" else self._side[0]
        try:
            await self._servers[0].start(host, self._side[1])
        except OSError:
            self._log.say("nixl_side_taken", place=f"{host}:{self._side[1]}")
            await asyncio.Event().wait()
        self._tasks.append(asyncio.create_task(self._steps()))

    async def close(self) -> None:
        await settled(self._tasks)
        for remote in self._remotes.values():
            remote.close()
        for server in self._servers:
            await server.close()

    @property
    def _hash(self) -> str:
        """What both engines have to have in common; the block size and the number of ranks are not part of it."""
        options, shape = self._host.options, self._host.shape
        factors = [self._host.parameters.vllm_version, options.model, options.dtype, self._heads, shape.head_size,
                   shape.layers, options.kv_cache_dtype]  # fmt: skip
        return hashlib.sha256(json.dumps(factors).encode()).hexdigest()

    # ---- blocks of this engine

    async def _steps(self) -> None:
        while True:
            await asyncio.sleep(STEP_S)
            if self._leases:
                self._step()

    def _step(self) -> None:
        """What a worker does in every step of its engine: looks at notifications, releases what nobody fetched."""
        notified, self._notified = self._notified, []
        for request_id in notified:
            if self._leases.pop(request_id, None) is None:
                self._counted.append(("vllm:nixl_num_notifications_after_expiry", None))
                self._log.say("nixl_after_expiry", id=request_id)
            else:
                self._release(request_id)
        for request_id in [one for one, until in self._leases.items() if time.monotonic() >= until]:
            del self._leases[request_id]
            self._counted.append(("vllm:nixl_num_kv_expired_reqs", None))
            self._log.say("nixl_expired", id=request_id)
            self._release(request_id)

    def _release(self, request_id: str) -> None:
        self._free += self._held.pop(request_id)

    def _publish(self) -> None:
        counted, self._counted = self._counted, []
        for name, value in counted:
            if value is None:
                self._page.add(name)
            else:
                self._page.observe(name, value)

    async def _allocate(self, request: Request) -> None:
        wanted = math.ceil((len(request.tokens) + request.max_tokens - 1) / self._block)
        while len(self._free) < wanted:
            await asyncio.sleep(STEP_S)
        self._held[request.id] = [self._free.pop() for _ in range(wanted)]

    def _keep_contents(self, request_id: str, kv: array) -> None:
        for number, block in enumerate(self._held[request_id]):
            self._contents[block] = kv[number * self._block : (number + 1) * self._block]

    # ---- what others ask of this engine

    async def _serve_side(self, _message: dict[str, Any], _blob: bytes) -> Message:
        place = "{}:{}".format(*self._servers[1].address)
        return {"engine_id": self.engine_id, "hash": self._hash, "agent": place, "block_size": self._block}, b""

    async def _serve_read(self, message: dict[str, Any], _blob: bytes) -> Message:
        if self._leases:
            self._step()  # an engine that has blocks to keep is never idle
        blocks = [self._contents.get(block, array("Q")) for block in message["blocks"]]
        whole = [block + array("Q", bytes(KV_BYTES * (self._block - len(block)))) for block in blocks]
        await self._host.pace.take(self._host.pace.transfer(len(whole) * self._block_bytes))
        self._notified.append(message["request_id"])
        return {}, b"".join(block.tobytes() for block in whole)

    # ---- one request

    async def matched(self, request: Request, computed: int, skips_reading: bool) -> Load:
        """Pulls the prompt where the request's kv_transfer_params say.  Raises EngineDead for half of them."""
        self._step()
        params, total = request.params or {}, len(request.tokens)
        await self._allocate(request)
        self._page.add("vllm:external_prefix_cache_queries", total - computed)
        if not params.get("do_remote_prefill") or skips_reading or total <= computed:
            return Load(0, 0, False)
        if not params.get("remote_block_ids"):
            raise EngineDead("AssertionError")
        if any(name not in params for name in WHERE):
            self._log.say("nixl_params_invalid", params=params)
            await asyncio.Event().wait()  # it is parked for KV that nobody fetches
        need = total - computed
        self._page.add("vllm:external_prefix_cache_hits", need)
        self._page.add("vllm:prompt_tokens_cached_by_source", need, source=self.source)
        self._pulled[request.id] = await self._pull(request, params, computed)
        return Load(total, need, False)

    async def _pull(self, request: Request, params: dict[str, Any], computed: int) -> array | None:
        remote = await self._remote(request.id, params, len(self._held[request.id]))
        blocks = [block for group in params["remote_block_ids"] for block in group][computed // self._block :]
        if remote is None:
            return self._failed(request.id)
        began = time.perf_counter()
        message = {"blocks": blocks, "request_id": params["remote_request_id"]}
        try:
            if self._host.parameters.fault == "load-fails":
                raise NoReply
            _, blob = await remote.ask(message, limit_s=READ_LIMIT_S)
        except NoReply:
            self._say_failure("transfer_exception", request.id, params, DISCONNECTED)
            remote.close()
            self._remotes.pop(params["remote_engine_id"], None)
            return self._failed(request.id)
        took = time.perf_counter() - began
        self._counted += [("vllm:nixl_xfer_time_seconds", took), ("vllm:nixl_post_time_seconds", took * 0.1),
                          ("vllm:nixl_bytes_transferred", float(len(blocks) * self._block_bytes)),
                          ("vllm:nixl_num_descriptors", float(len(blocks) * self._host.shape.layers))]  # fmt: skip
        got = array("Q", blob)
        chunks = [got[at : at + self._block] for at in range(0, len(got), self._block)]
        arrived = array("Q")
        for chunk in faults.loaded(self._host.parameters.fault, chunks):
            arrived.extend(chunk)
        return arrived[: len(request.tokens) - computed]

    def _failed(self, request_id: str) -> None:
        self._counted.append(("vllm:nixl_num_failed_transfers", None))
        self._log.say("nixl_skipped", id=request_id)

    async def _remote(self, request_id: str, params: dict[str, Any], blocks: int) -> Client | None:
        """The agent of an engine, which is asked for through its side channel once; None where that fails."""
        async with self._handshaking:
            remote = self._remotes.get(params["remote_engine_id"])
            if remote is not None:
                return remote
            try:
                agent = await self._handshake(params)
            except (NoReply, AssertionError, RuntimeError, OSError) as exc:
                cause = f"{type(exc).__name__}: {exc}" if isinstance(exc, (AssertionError, RuntimeError)) else (
                    "zmq.error.Again: Resource temporarily unavailable")  # fmt: skip
                self._say_failure("handshake_setup_failed", None, params, cause)
                self._say_failure("handshake_failed", request_id, params, cause, blocks)
                return None
            self._remotes[params["remote_engine_id"]] = remote = Client(agent)
            return remote

    async def _handshake(self, params: dict[str, Any]) -> str:
        """Where the remote engine's agent is.  Raises NoReply or OSError, and RuntimeError where they do not fit."""
        client = Client(f"{params['remote_host']}:{params['remote_port']}")
        try:
            answer, _ = await client.ask({"kind": "get_meta"}, limit_s=HANDSHAKE_LIMIT_S)
        finally:
            client.close()
        await self._host.pace.take(self._host.parameters.handshake_s)
        if self._enforced and answer["hash"] != self._hash:
            raise RuntimeError(MISMATCH.format(local=self._hash, remote=answer["hash"]))
        self._log.say("nixl_compatible", hash=answer["hash"], heads=self._heads, bytes=self._block_bytes)
        if answer["engine_id"] != params["remote_engine_id"]:
            raise RuntimeError(f"Remote NIXL agent engine ID mismatch. Expected {params['remote_engine_id']},received "
                               f"{answer['engine_id']}.")  # fmt: skip
        if answer["block_size"] != self._block:
            raise AssertionError("Heterogeneous block sizes are not supported with host buffer")  # which CPUs have
        return answer["agent"]

    def _say_failure(self, kind: str, request_id: str | None, params: dict[str, Any], cause: str,
                     blocks: int | None = None) -> None:  # fmt: skip
        context = {"failure_type": kind, "request_id": request_id, "engine_id": self.engine_id,
                   "remote_engine_id": params["remote_engine_id"]}  # fmt: skip
        if request_id is not None:
            context |= {name: params[name] for name in WHERE[1:]}
        if blocks is not None:
            context |= {"num_local_blocks": blocks, "num_remote_blocks": sum(map(len, params["remote_block_ids"])),
                        "local_block_ids_sample": self._held[request_id][:10]}  # fmt: skip
        self._log.say(f"nixl_{kind}", context=context, cause=cause)

    async def load(self, request_id: str, load: Load, computed: int, kv: array) -> array:
        """KV of the computed tokens and what was pulled.  Raises LoadFailed."""
        pulled = self._pulled.pop(request_id)
        if pulled is None:
            raise LoadFailed(load.need)
        return kv + pulled

    def cached(self, computed: int, load: Load) -> int:
        """vLLM takes what was pulled for computed by the other engine: it is not told as cached."""
        return 0 if load.need else computed

    def finished(self, request: Request, computed: int, kv: array | None) -> None:
        """Keeps the blocks of a prompt that another engine will decode, and answers where they are."""
        self._pulled.pop(request.id, None)
        if request.id not in self._held:
            return
        self._publish()
        if kv is None or not (request.params or {}).get("do_remote_decode"):
            if kv is not None:
                self._keep_contents(request.id, kv)
            self._release(request.id)
            return
        self._keep_contents(request.id, kv)
        self._leases[request.id] = time.monotonic() + self._lease_s
        size = self._host.options.world_size
        request.answered = {
            "do_remote_prefill": True, "do_remote_decode": False, "remote_block_ids": [self._held[request.id]],
            "remote_engine_id": self.engine_id, "remote_request_id": request.id, "remote_host": self._side[0],
            "remote_port": self._side[1], "tp_size": size, "dcp_size": 1, "pp_size": 1,
            "remote_num_tokens": len(kv), "remote_blocks_expiry_time": None, "transfer_mode": "pull",
            "remote_prefill_cached_tokens": computed}  # fmt: skip


DISCONNECTED = "nixl_cu12._bindings.nixlRemoteDisconnectError: NIXL_ERR_REMOTE_DISCONNECT"
MISMATCH = (
    "NIXL compatibility hash mismatch. Local: {local}, Remote: {remote}. Prefill and decode instances have "
    "incompatible configurations. This may be due to: different vLLM versions, models, dtypes, KV cache layouts, "
    "attention backends, etc. Both instances must use identical configurations.Disable this check using "
    """--kv-transfer-config '{{"kv_connector_extra_config": {{"enforce_handshake_compat": false}}}}'"""
)
