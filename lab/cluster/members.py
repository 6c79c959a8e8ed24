# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""Many nodes in one process, each on a loopback address of its own, with its own log and LMCache file.

    python -m lab.cluster.members SPEC.yml

The spec:

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
from ..rehearsal.run import until_told
from . import healthy, lab
from .fault import applied

INTERNAL_PORT = 6999
FIRST_WORKER_PORT = 21000  # workers listen on every address
PORTS_A_NODE = 8  # worker ports set aside, one for each rank


class SpecError(ValueError):
    """A spec that cannot be used; the message is one sentence."""


class Members:
    """Engines and controllers by name; one that is stopped can be started again, as after a restart of its process."""

    def __init__(self, spec: dict[str, Any]):
        self.spec = spec
        self.folder = Path(spec["folder"])
        self.folder.mkdir(parents=True, exist_ok=True)
        self._controllers = {controller["name"]: controller for controller in spec.get("controllers", [])}
        self._nodes = {node["name"]: node for node in spec.get("nodes", [])}
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
            raise SpecError(f"there is no member {name}")
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
        spec = self._controllers[name]
        ports = {port: spec[port] for port in ("pull", "reply", "heartbeat") if spec.get(port)}
        arguments = healthy.controller_arguments(spec["host"], spec["port"], ports)
        env = _environment(healthy.CONTROLLER_ENVIRONMENT, spec.get("env", {}))
        return Controller([*arguments, *spec.get("arguments", [])], env, stream)

    def _engine(self, name: str, stream: IO[str]) -> Engine:
        spec = self._nodes[name]
        path, metrics = self.folder / f"{name}.yaml", self.folder / f"{name}.prometheus"
        path.write_text(yaml.safe_dump(self.settings(name), sort_keys=False), encoding="utf-8")
        env = healthy.engine_environment(spec["address"], settings=path, metrics=metrics)
        arguments = healthy.engine_arguments(
            self._node(name),
            model=spec.get("model", "rehearsal-model"),
            served=spec.get("served", "tiny"),
            connector={},
        )
        parameters = {**self.spec.get("parameters", {}), **spec.get("parameters", {})}
        arguments += spec.get("arguments", [])
        return Engine(arguments, _environment(env, spec.get("env", {})), stream, parameters)

    def _node(self, name: str) -> lab.Node:
        spec = self._nodes[name]
        number = list(self._nodes).index(name)
        worker_port = self.spec.get("worker_ports", FIRST_WORKER_PORT)
        worker_port += self.spec.get("ports_a_node", PORTS_A_NODE) * number
        return lab.Node(name, "", spec["address"], spec.get("port", 8000), worker_port, INTERNAL_PORT)

    def settings(self, name: str) -> dict[str, Any]:
        """A node's LMCache settings: healthy ones, changed as its spec says."""
        spec = self._nodes[name]
        at = self._controllers.get(spec.get("controller", next(iter(self._controllers), "")))
        controller = lab.Controller(at["name"], at["host"], at["port"], at["pull"], at["reply"]) if at else None
        settings = healthy.lmcache_settings(self._node(name), controller)
        return applied(settings, {"internal_api_server_host": spec["address"]}, spec.get("lmcache", {}))


def _environment(usual: dict[str, str], changes: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in applied(usual, changes).items()}


async def obey(members: Members) -> None:
    """Carries out the lines on standard input until it ends."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async for line in reader:
        words = line.decode().split()
        answer: dict[str, Any] = {"ok": True}
        try:
            if len(words) != 2 or words[0] not in ("start", "stop"):
                raise SpecError("say start NAME or stop NAME")
            await (members.start_member if words[0] == "start" else members.stop_member)(words[1])
        except SpecError as exc:
            answer = {"ok": False, "error": str(exc)}
        print(json.dumps(answer), flush=True)


async def main(path: str) -> int:
    members = Members(yaml.safe_load(Path(path).read_text(encoding="utf-8")))
    try:
        await members.start()
        print(json.dumps({"ready": True, "gave_up": sorted(members.gave_up)}), flush=True)
        obeying = asyncio.create_task(obey(members))
        await until_told()
        obeying.cancel()
    except SpecError as exc:
        print(exc, file=sys.stderr)
        return 1
    finally:
        await members.stop()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1])) if len(sys.argv) == 2 else __doc__)
