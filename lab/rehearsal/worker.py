# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""A rank's line to the controller: registration (once, no retry), announcements, lookups, heartbeat."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import Any

from .host import Host
from .lmconfig import LMCacheConfig
from .wire import Client, Message, NoReply, Server

BATCH_S = 0.01  # announcements are collected so long
NOBODY = ("", "", 0, "")


class ControllerWorker:
    """LMCacheWorker of one rank."""

    def __init__(self, host: Host, config: LMCacheConfig, rank: int):
        self._config, self._rank, self._ip, self._log = config, rank, host.ip, host.log
        self._of, self._chance = host.parameters, host.pace.chance
        self.instance: str = config["lmcache_instance_id"]
        self._port: int = config["lmcache_worker_ports"][rank]
        self.peer_init_url: str | None = None
        self._limit = min(self._of.register_limit_s, config.extra("worker_socket_recv_timeout_ms", 30_000) / 1000)
        self._reply = Client(config["controller_reply_url"])
        self._pull = Client(config["controller_pull_url"])
        self._server = Server(self._serve)
        self._pending: list[tuple[str, int]] = []
        self._some_pending = asyncio.Event()
        self._stalled: list[tuple[asyncio.Future, tuple]] = []
        self._tasks: list[asyncio.Task] = []
        self._pushes = False
        self.pool: Any = None  # set by the rank; a full sync sends what is in it

    async def start(self) -> None:
        """Raises OSError when the worker's port is taken or a URL is none, IndexError when the rank has no P2P port.

        Everything else happens in the background.
        """
        for key in ("controller_pull_url", "controller_reply_url"):
            if "://" in self._config[key]:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), f"tcp://{self._config[key]}")
        if self._config["enable_p2p"]:
            self.peer_init_url = f"{self._config['p2p_host']}:{self._config['p2p_init_ports'][self._rank]}"
        await self._server.start("0.0.0.0", self._port)
        self._log.say("worker_socket", port=self._port)
        self._tasks.append(asyncio.create_task(self._run()))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._reply.close()
        self._pull.close()
        await self._server.close()

    async def _run(self) -> None:
        self._log.say("registering", instance=self.instance, worker=self._rank)
        try:
            answer, _ = await self._reply.ask(self._me("register"), limit_s=self._limit)
        except NoReply:
            self._log.say("register_failed", instance=self.instance, worker=self._rank)
            return
        url = answer.get("heartbeat_url")
        self._log.say("heartbeat_url" if url else "no_heartbeat_url", url=url)
        self._log.say("registered", instance=self.instance, worker=self._rank)
        self._pushes = True
        self._tasks.append(asyncio.create_task(self._push()))
        every = self._config["lmcache_worker_heartbeat_time"]
        if url and every:
            await self._heartbeat(url, every)

    def _me(self, kind: str) -> dict[str, Any]:
        return {"kind": kind, "instance_id": self.instance, "worker_id": self._rank, "ip": self._ip,
                "port": self._port, "peer_init_url": self.peer_init_url}  # fmt: skip

    async def _heartbeat(self, url: str, every: float) -> None:
        delay = self._config["lmcache_worker_heartbeat_delay_time"]
        await asyncio.sleep(delay)
        self._log.say("heartbeat_start", instance=self.instance, worker=self._rank, delay=delay, interval=every)
        client = Client(url)
        self._tasks.append(asyncio.current_task())
        while True:
            try:
                answer, _ = await client.ask(self._me("heartbeat"), limit_s=self._limit)
                self._log.say("heartbeat")
                if answer.get("full_sync"):
                    self._pending += [("admit", number) for number in self.pool.hashes()]
                    self._some_pending.set()
            except NoReply:
                self._log.say("heartbeat_timed_out")
            await asyncio.sleep(every)

    # ---- announcements

    def announce(self, operation: str, number: int) -> None:
        """Tells the controller that a chunk came or went; never sent before a successful registration."""
        if self._of.fault != "announce-nothing":
            self._pending.append((operation, number))
            self._some_pending.set()

    async def _push(self) -> None:
        while True:
            await self._some_pending.wait()
            await asyncio.sleep(BATCH_S)
            self._some_pending.clear()
            operations, self._pending = self._pending, []
            self._pull.send({"kind": "operations", "instance_id": self.instance, "worker_id": self._rank,
                             "location": "LocalCPUBackend", "operations": operations})  # fmt: skip

    # ---- lookups

    async def lookup(self, hashes: list[int]) -> tuple[str, str, int, str]:
        """(instance, location, chunks, peer_init_url) of a holder; the empty answer when there is none, and
        when the controller does not answer within 30 s."""
        self._deliver()
        message = {"kind": "lookup", "instance_id": self.instance, "worker_id": self._rank, "hashes": hashes}
        client = self._reply
        try:
            answer, _ = await client.ask(message, limit_s=self._limit)
        except NoReply:
            self._log.say("controller_timed_out")
            if client is self._reply:
                client.close()
                self._reply = Client(self._config["controller_reply_url"])
            return NOBODY
        layout = tuple(answer["layout"])
        if self._chance.random() < self._of.lookup_loss:
            return await self._stall(layout)
        return layout

    async def _stall(self, layout: tuple) -> tuple:
        """The reply came and nobody was woken: it is taken with the next lookup, or given up."""
        future = asyncio.get_running_loop().create_future()
        self._stalled.append((future, layout))
        try:
            return await asyncio.wait_for(future, self._limit)
        except TimeoutError:
            self._log.say("controller_timed_out")
            return NOBODY

    def _deliver(self) -> None:
        for future, layout in self._stalled:
            if not future.done():
                future.set_result(layout)
        self._stalled = []

    async def _serve(self, message: dict[str, Any], _blob: bytes) -> Message:
        """What the controller asks a worker; only health matters here."""
        return {"error_code": 0 if message.get("kind") == "health" else -1}, b""
