# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""lmcache_controller: its pull, reply and heartbeat ports, its log, and its HTTP server."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import time
import uuid
from typing import IO, Any

from .cache import settled
from .controller_http import ControllerSite
from .hashing import ChunkHasher
from .log import Log
from .registry import Registry
from .wire import Client, Message, NoReply, Server

CHUNK_SIZE = 256  # POST /lookup hashes so, whatever the engines do
MODULES = ("env_api", "loglevel_api", "metrics_api", "periodic_thread_api", "run_script_api", "thread_api",
           "key_stats_api", "worker_info_api")  # fmt: skip


def controller_options(arguments: list[str]) -> argparse.Namespace:
    """lmcache_controller's command line; options that are not known here are left alone."""
    parser = argparse.ArgumentParser(prog="lmcache_controller", allow_abbrev=False)
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--monitor-ports", type=json.loads)
    parser.add_argument("--monitor-port", type=int, default=9001)
    parser.add_argument("--health-check-interval", type=int, default=-1)
    parser.add_argument("--lmcache-worker-timeout", type=int, default=300)
    return parser.parse_known_args(arguments)[0]


class Controller:
    """One controller; ``env`` is its whole environment, ``stream`` takes its log."""

    def __init__(self, arguments: list[str], env: dict[str, str], stream: IO[str]):
        self.options = options = controller_options(arguments)
        self.registry = Registry()
        self._env, self._log = env, Log(stream, level=env.get("LMCACHE_LOG_LEVEL", "INFO"), pid=os.getpid())
        self._hasher = ChunkHasher("builtin", CHUNK_SIZE, env, lambda: secrets.randbits(64))
        ports = options.monitor_ports or {"pull": options.monitor_port}
        self.urls = {name: f"{options.host}:{ports[name]}" if ports.get(name) else None
                     for name in ("pull", "reply", "heartbeat")}  # fmt: skip
        self.messages = {"pull": 0, "reply": 0}
        self._servers = {"pull": Server(self._pull), "reply": Server(self._reply), "heartbeat": Server(self._heartbeat)}
        parts = {"registry": self.registry, "messages": self.messages, "lookup": self._lookup, "health": self._health}
        self._site = ControllerSite(self._log, env, **parts)
        self._tasks: list[asyncio.Task] = []

    async def start(self) -> None:
        """Listens when it returns.  Raises OSError when an address cannot be had."""
        options, say = self.options, self._log.say
        say("controller_start")
        values = {"controller_monitor_ports": options.monitor_ports, "controller_host": options.host,
                  "controller_port": options.port, "health_check_interval": options.health_check_interval,
                  "lmcache_worker_timeout": options.lmcache_worker_timeout, "extra_config": None}  # fmt: skip
        if options.host != "0.0.0.0":
            say("controller_override", key="controller_host", value=options.host, default="0.0.0.0")
        if options.port != 9000:
            say("controller_override", key="controller_port", value=options.port, default=9000)
        say("controller_config", values=values)
        say("hash_not_in_vllm", algorithm="builtin")
        say("none_hash", value=self._hasher.none_hash, algorithm="builtin")
        for module in MODULES:
            say("api_modules", module=module)
        say("controller_static")
        if options.monitor_ports is None and options.monitor_port != 9001:
            say("controller_monitor_port_old")
        say("controller_listens", host=options.host, port=options.port, urls=self.urls,
            interval=options.health_check_interval, timeout=options.lmcache_worker_timeout)  # fmt: skip
        for name in ("reply", "heartbeat", "pull"):
            if self.urls[name]:
                say(f"controller_{name}", url=self.urls[name])
                host, _, port = self.urls[name].rpartition(":")
                await self._servers[name].start(host, int(port))
            elif name == "heartbeat":
                say("controller_no_heartbeat")
        await self._site.start(options.host, options.port)
        say("controller_ready", host=options.host, port=options.port)
        if options.health_check_interval > 0:
            self._tasks.append(asyncio.create_task(self._reap()))

    async def stop(self) -> None:
        await settled(self._tasks)
        await self._site.close()
        for server in self._servers.values():
            await server.close()
        self._log.say("stopped")

    # ---- from workers

    async def _pull(self, message: dict[str, Any], _blob: bytes) -> None:
        self.messages["pull"] += 1
        if not self.registry.apply(message):
            self._log.say("kv_operations_refused", instance=message["instance_id"], worker=message["worker_id"])

    async def _reply(self, message: dict[str, Any], _blob: bytes) -> Message:
        self.messages["reply"] += 1
        if message["kind"] == "register":
            return self._register(message), b""
        return {"layout": self.registry.find(message["hashes"], message["instance_id"])}, b""

    def _register(self, message: dict[str, Any]) -> dict[str, Any]:
        names = {"instance": message["instance_id"], "worker": message["worker_id"]}
        if not self.registry.register(message):
            self._log.say("worker_already_registered", **names)
        else:
            if message["peer_init_url"] is None:
                self._log.say("worker_without_p2p", **names)
            self._log.say("worker_registered", **names, url=f"{message['ip']}:{message['port']}")
        return {"heartbeat_url": self.urls["heartbeat"]}

    async def _heartbeat(self, message: dict[str, Any], _blob: bytes) -> Message:
        names = {"instance": message["instance_id"], "worker": message["worker_id"]}
        worker = self.registry.worker(message["instance_id"], message["worker_id"])
        if worker:
            worker.heartbeat = time.time()
            return {"full_sync": False}, b""
        self._log.say("worker_reregistered", **names)
        self._register(message)
        self._log.say("full_sync", **names, sync=uuid.uuid4().hex[:8], keys="unknown")
        return {"full_sync": True}, b""

    async def _reap(self) -> None:
        """Drops workers without a heartbeat for longer than the time-out."""
        while True:
            await asyncio.sleep(self.options.health_check_interval)
            limit = self.options.lmcache_worker_timeout
            for info in self.registry.infos():
                if time.time() - info["last_heartbeat_time"] > limit:
                    names = {"instance": info["instance_id"], "worker": info["worker_id"]}
                    self._log.say("worker_silent", **names, last=info["last_heartbeat_time"], now=time.time(),
                                  timeout=limit)  # fmt: skip
                    self.registry.deregister(info["instance_id"], info["worker_id"])
                    self._log.say("worker_deregistered", **names)

    # ---- from its HTTP side

    def _lookup(self, tokens: list[int]) -> dict[str, tuple[str, int]]:
        return self.registry.layout(list(self._hasher.chunks(tokens, partial=True)))

    async def _health(self, instance: str) -> dict[str, int]:
        """Error code by worker, from the workers themselves."""
        found = {}
        for worker in self.registry.instances.get(instance, {}).values():
            client = Client(f"{worker.ip}:{worker.port}")
            try:
                answer, _ = await client.ask({"kind": "health"}, limit_s=5.0)
                found[str(worker.worker_id)] = answer["error_code"]
            except NoReply:
                found[str(worker.worker_id)] = -1
            finally:
                client.close()
        return found
