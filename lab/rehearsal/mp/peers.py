# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""A cache server's ways to others: its coordinator, which names its peers, and an adapter for each of them."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from array import array
from dataclasses import dataclass
from typing import Any

import aiohttp

from ..cache import settled
from ..log import Log
from ..model import KV_BYTES
from ..wire import Client, NoReply, Server
from .keys import Key

HANDSHAKE_S = 60.0
LOOKUP_RPC_S = 3.0
MISSES = 3  # discoveries in which a peer may be missing before its adapter goes
OFF, REGISTERED, DISCONNECTED = "unregistered", "registered", "disconnected"


@dataclass
class Adapter:
    """P2PL2Adapter: reads from one peer, whose server is asked what it has and whose channel gives it."""

    number: int
    place: tuple[str, int, str]  # IP, request port, advertised URL
    requests: Client
    channel: Client
    misses: int = 0

    name = "p2p"

    @property
    def status(self) -> dict[str, Any]:
        ip, port, url = self.place
        return {"is_healthy": True, "type": "P2PL2Adapter", "peer_mq_server_url": f"tcp://{ip}:{port}",
                "peer_transfer_channel_server_url": url, "in_flight_lookups": 0, "in_flight_loads": 0}  # fmt: skip

    async def contains(self, keys: list[Key]) -> list[bool]:
        """Which of these the peer has; it keeps them until they are unlocked.  All are missing when it is silent."""
        texts = [key.text for key in keys]
        try:
            answer, _ = await self.requests.ask({"kind": "p2p_lookup", "keys": texts}, limit_s=LOOKUP_RPC_S)
        except NoReply:
            return [False] * len(keys)
        return answer["held"]

    async def load(self, keys: list[Key], limit_s: float) -> list[array]:
        """Their chunks, none when the peer does not give them in time; unlocks them there."""
        texts = [key.text for key in keys]
        try:
            answer, blob = await self.channel.ask({"kind": "read", "keys": texts}, limit_s=limit_s)
        except NoReply:
            return []
        finally:
            self.requests.send({"kind": "p2p_unlock", "keys": texts})
        found, at = [], 0
        for length in answer["lengths"]:
            found.append(array("Q", blob[at : at + length * KV_BYTES]))
            at += length * KV_BYTES
        return found

    def close(self) -> None:
        self.requests.close()
        self.channel.close()


class Peers:
    """Registers with the coordinator, beats, and keeps an adapter for every other instance that advertises one."""

    def __init__(self, options: argparse.Namespace, log: Log, read: Any, changed: Any):
        self._options, self._log, self._changed = options, log, changed
        self.enabled, self.state = bool(options.p2p_advertise_url), OFF
        self.adapters: dict[str, Adapter] = {}
        self._numbers = 0
        self._channel = Server(read)
        self._tasks: list[asyncio.Task] = []
        self._url = options.coordinator_url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None
        self.registered = asyncio.Event()

    async def start(self) -> None:
        """Raises OSError when the channel's address cannot be had."""
        options = self._options
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5.0))
        if self.enabled:
            host, _, port = (options.p2p_listen_url or options.p2p_advertise_url).rpartition(":")
            await self._channel.start(host, int(port))
            self._log.say("mp_nixl")
            if self._url:
                self._tasks.append(asyncio.create_task(self._discover()))
        if self._url:
            self._tasks.append(asyncio.create_task(self._keep_registered()))

    async def stop(self) -> None:
        await settled(self._tasks)
        if self._session:
            if self.registered.is_set():
                await self._call("DELETE", f"/instances/{self._options.instance_id}")
            await self._session.close()
        for adapter in self.adapters.values():
            adapter.close()
        await self._channel.close()

    async def _call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """(status, JSON); raises OSError or TimeoutError, and status 0 stands for none while stopping."""
        try:
            async with self._session.request(method, self._url + path, json=body) as reply:
                return reply.status, await reply.json(content_type=None) if reply.status == 200 else None
        except aiohttp.ClientError as error:
            if method == "DELETE":
                return 0, None
            raise OSError(str(error)) from error

    async def _keep_registered(self) -> None:
        options, me = self._options, self._options.instance_id
        body = {"instance_id": me, "ip": options.coordinator_advertise_ip or "127.0.0.1",
                "http_port": options.http_port, "p2p_advertised_url": options.p2p_advertise_url,
                "mq_port": options.port if self.enabled else 0}  # fmt: skip
        while True:
            try:
                if not self.registered.is_set():
                    await self._call("POST", "/instances", body)
                    self._log.say("mp_registered", instance=me)
                    self.registered.set()
                else:
                    status, _ = await self._call("PUT", f"/instances/{me}/heartbeat")
                    if status == 404:
                        self._log.say("mp_forgotten", instance=me)
                        self.registered.clear()
            except (OSError, TimeoutError):
                self._log.say("mp_heartbeat_failed")
            await asyncio.sleep(options.coordinator_heartbeat_interval)

    async def send_events(self, body: dict[str, Any]) -> None:
        """Tells the coordinator what came and went; what cannot be sent is lost."""
        try:
            await self._call("POST", "/events", body)
        except (OSError, TimeoutError):
            self._log.say("mp_events_lost", instance=self._options.instance_id)

    # ---- peers

    async def _discover(self) -> None:
        with contextlib.suppress(TimeoutError):  # it would find itself missing
            await asyncio.wait_for(self.registered.wait(), self._options.coordinator_heartbeat_interval)
        while True:
            try:
                _, listed = await self._call("GET", "/instances")
                await self._reconcile(listed["instances"])
            except TimeoutError:
                self.state = DISCONNECTED
                await self._drop_missing(set())
            except (OSError, TypeError, KeyError):
                self._log.say("mp_discovery_failed")
                self.state = OFF
                await self._drop_missing(set())
            await asyncio.sleep(self._options.coordinator_heartbeat_interval)

    async def _reconcile(self, listed: list[dict[str, Any]]) -> None:
        me, url = self._options.instance_id, self._options.p2p_advertise_url
        if not any(one["instance_id"] == me and one["p2p_advertised_url"] == url for one in listed):
            self.state = OFF
            return await self._drop_missing(set())
        self.state = REGISTERED
        places = {one["instance_id"]: (one["ip"], one["mq_port"], one["p2p_advertised_url"]) for one in listed}
        peers = {name: place for name, place in places.items() if name != me and all(place)}
        for name, place in peers.items():
            if name in self.adapters and self.adapters[name].place != place:
                self._remove(name)
            if name not in self.adapters:
                await self._add(name, place)
            else:
                self.adapters[name].misses = 0
        await self._drop_missing(set(peers))

    async def _add(self, name: str, place: tuple[str, int, str]) -> None:
        """Goes through the handshake of the peer's channel, which takes a minute to fail."""
        ip, port, url = place
        channel = Client(url)
        try:
            await channel.ask({"kind": "init"}, limit_s=HANDSHAKE_S)
        except NoReply:
            channel.close()
            self._log.say("mp_peer_failed", peer=name, url=url)
            return
        number, self._numbers = self._numbers, self._numbers + 1
        self.adapters[name] = Adapter(number, place, Client(f"{ip}:{port}"), channel)
        self._log.say("mp_peer_added", number=number)
        self._changed()

    async def _drop_missing(self, listed: set[str]) -> None:
        for name in set(self.adapters) - listed:
            self.adapters[name].misses += 1
            if self.adapters[name].misses > MISSES:
                self._remove(name)

    def _remove(self, name: str) -> None:
        adapter = self.adapters.pop(name)
        adapter.close()
        self._log.say("mp_peer_removed", number=adapter.number)
        self._changed()
