# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""Many nodes in one process, each on a loopback address of its own, with its own log and LMCache file.

A fleet's spec (YAML):

    folder: /tmp/fleet             # <name>.log and <name>.yaml go here
    worker_ports: 21000            # default: the first of LMCache's worker ports, which have to differ
    ports_a_node: 8                # default: how far apart they are, so how many ranks a node can have
    parameters: {…}                # settings.Parameters of every engine
    controllers:
      - {name: c1, host: 127.1.0.5, port: 9000, pull: 8300, reply: 8400, heartbeat: 8082}   # heartbeat: optional
    nodes:
      - name: p1
        address: 127.1.0.13        # of the API, the P2P ports and the internal API
        port: 8000                 # default
        controller: c1             # default: the first one
        model: /srv/model          # default: rehearsal-model
        served: tiny               # default
        arguments: [--enable-prefix-caching]      # more of vLLM's
        env: {PYTHONHASHSEED: "1"}                # null removes a name
        lmcache: {chunk_size: 128, p2p_host: null}  # over the healthy settings; null removes a key
        parameters: {fault: zero-keys-on-load}

Told to by lines on standard input (``stop NAME``, ``start NAME``), it stops and starts single members; every line is
answered by one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import IO, Any

import yaml

from ..rehearsal.controller import Controller
from ..rehearsal.engine import Engine, EngineExit

P2P_PORTS = (8200, 8201)
INTERNAL_PORT = 6999
FIRST_WORKER_PORT = 21000  # workers listen on every address
PORTS_A_NODE = 8  # worker ports set aside, one for each rank


class SpecError(ValueError):
    """A spec that cannot be used; the message is one sentence."""


class Fleet:
    """Members by name; a member that is stopped can be started again, as after a restart of its process."""

    def __init__(self, spec: dict[str, Any]):
        self._spec = spec
        self.folder = Path(spec["folder"])
        self.folder.mkdir(parents=True, exist_ok=True)
        self._controllers = {one["name"]: one for one in spec.get("controllers", [])}
        self._nodes = {one["name"]: one for one in spec.get("nodes", [])}
        self._running: dict[str, tuple[Any, IO[str]]] = {}
        self.gave_up: set[str] = set()

    async def start(self) -> None:
        """Starts controllers, then engines."""
        for name in [*self._controllers, *self._nodes]:
            await self.start_member(name)

    async def stop(self) -> None:
        for name in list(self._running):
            await self.stop_member(name)

    async def start_member(self, name: str) -> None:
        """Raises SpecError for an unknown name and for an address that is taken."""
        if name not in self._controllers and name not in self._nodes:
            raise SpecError(f"the fleet has no member {name}")
        stream = open(self.folder / f"{name}.log", "a", encoding="utf-8")  # noqa: SIM115 (lives with the member)
        member = self._controller(name, stream) if name in self._controllers else self._engine(name, stream)
        self._running[name] = (member, stream)
        try:
            await member.start()
        except EngineExit:
            self.gave_up.add(name)
            await self.stop_member(name)
        except OSError as exc:
            await self.stop_member(name)
            raise SpecError(f"{name} cannot listen: {exc}") from exc

    async def stop_member(self, name: str) -> None:
        if name in self._running:
            member, stream = self._running.pop(name)
            await member.stop()
            stream.close()

    def _controller(self, name: str, stream: IO[str]) -> Controller:
        one = self._controllers[name]
        ports = {port: one[port] for port in ("pull", "reply", "heartbeat") if one.get(port)}
        arguments = ["--host", one["host"], "--port", str(one["port"]), "--monitor-ports", json.dumps(ports),
                     *one.get("arguments", [])]  # fmt: skip
        return Controller(arguments, _environment({"PYTHONHASHSEED": "0"}, one.get("env")), stream)

    def _engine(self, name: str, stream: IO[str]) -> Engine:
        node = self._nodes[name]
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(self.settings(name), sort_keys=False), encoding="utf-8")
        env = _environment({
            "LMCACHE_CONFIG_FILE": str(path), "PYTHONHASHSEED": "0", "LAB_NODE_ADDRESS": node["address"],
            "PROMETHEUS_MULTIPROC_DIR": str(self.folder / f"{name}.prometheus"), "LMCACHE_LOG_LEVEL": "INFO",
        }, node.get("env"))  # fmt: skip
        arguments = [
            "--model", node.get("model", "rehearsal-model"), "--served-model-name", node.get("served", "tiny"),
            "--host", node["address"], "--port", str(node.get("port", 8000)), "--max-model-len", "4096",
            "--no-enable-prefix-caching", "--enable-prompt-tokens-details", "--kv-transfer-config",
            json.dumps({"kv_connector": "LMCacheConnectorV1", "kv_role": "kv_both"}), *node.get("arguments", []),
        ]  # fmt: skip
        given = {**self._spec.get("parameters", {}), **node.get("parameters", {})}
        return Engine(arguments, env, stream, given)

    def settings(self, name: str) -> dict[str, Any]:
        """A node's LMCache settings: healthy ones, changed as its spec says."""
        node = self._nodes[name]
        controller = self._controllers.get(node.get("controller", next(iter(self._controllers), "")))
        urls = {key: f"{controller['host']}:{controller[port]}" for key, port in
                (("controller_pull_url", "pull"), ("controller_reply_url", "reply"))} if controller else {}  # fmt: skip
        number = list(self._nodes).index(name)
        healthy = {
            "chunk_size": 256, "local_cpu": True, "max_local_cpu_size": 0.5, "enable_async_loading": True,
            "enable_p2p": True, "p2p_host": node["address"], "p2p_init_ports": P2P_PORTS[0],
            "p2p_lookup_ports": P2P_PORTS[1], "transfer_channel": "nixl", "nixl_backends": ["UCX"],
            "enable_controller": True, "lmcache_instance_id": name, **urls,
            "lmcache_worker_ports": self._spec.get("worker_ports", FIRST_WORKER_PORT)
            + self._spec.get("ports_a_node", PORTS_A_NODE) * number,
            "internal_api_server_enabled": True, "internal_api_server_host": node["address"],
            "internal_api_server_port_start": INTERNAL_PORT,
        }  # fmt: skip
        merged = {**healthy, **node.get("lmcache", {})}
        return {key: value for key, value in merged.items() if value is not None}


def _environment(healthy: dict[str, str], changes: dict[str, Any] | None) -> dict[str, str]:
    merged = {**healthy, **(changes or {})}
    return {name: str(value) for name, value in merged.items() if value is not None}


async def obey(fleet: Fleet) -> None:
    """Carries out the lines on standard input until it ends."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async for line in reader:
        words = line.decode().split()
        answer: dict[str, Any] = {"ok": True}
        try:
            if len(words) != 2 or words[0] not in ("start", "stop"):
                raise SpecError("say start NAME or stop NAME")
            await (fleet.start_member if words[0] == "start" else fleet.stop_member)(words[1])
        except SpecError as exc:
            answer = {"ok": False, "error": str(exc)}
        print(json.dumps(answer), flush=True)
