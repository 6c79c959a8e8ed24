# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""What a cluster is made of: its nodes, its controller, the stack of its engines, and where it lives."""

from __future__ import annotations

import os
import pwd
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from . import supervise

REDIS = "redis"  # a store that both engines share
SOURCE = Path(__file__).resolve().parents[1]
BASE_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


@dataclass(frozen=True)
class Node:
    """The node of one engine.  Nodes share a machine, so what binds every address or 127.0.0.1 differs by its port."""

    name: str  # also its LMCache instance id
    role: str  # prefill or decode: which of a fault's changes are meant for it
    address: str
    port: int
    lmcache_worker_port: int  # the first of lmcache_worker_ports; binds every address
    internal_api_port: int  # the scheduler's; workers take the next ones
    ssh_port: int = 0  # 0: no SSH server


@dataclass(frozen=True)
class Controller:
    """The node of lmcache_controller."""

    name: str
    address: str
    port: int = 9000
    pull_port: int = 8300
    reply_port: int = 8400
    ssh_port: int = 0


@dataclass(frozen=True)
class Stack:
    """What differs between the rehearsal's engines and real ones."""

    requirements: str  # a file of the project
    packages: list[str]  # what its Python has to have
    model: str  # folder's name
    make_model: list[str]  # command that makes the folder it is given
    controller: list[str]
    lmcache: list[str]  # LMCache's command, before `server` and `coordinator`
    modules: Path  # on the engine's PYTHONPATH
    connector: dict[str, str]  # more of --kv-transfer-config
    sources: list[str]  # files the engines depend on


def _stack(engine: str, python: str) -> Stack:
    if engine == "rehearsal":
        modules = SOURCE / "rehearsal" / "shadow"
        return Stack(
            requirements="lab/rehearsal/requirements.txt",
            packages=["aiohttp", "cbor2", "prometheus_client", "yaml"],
            model="rehearsal-model",
            make_model=[python, "-m", "lab.rehearsal", "model"],
            controller=[python, str(modules / "bin" / "lmcache_controller")],
            lmcache=[python, str(modules / "bin" / "lmcache")],
            modules=modules,
            connector={},
            sources=sorted(map(str, (SOURCE / "rehearsal").rglob("*.py"))),
        )
    modules = SOURCE / "real"
    return Stack(
        requirements="lab/requirements-lab.txt",
        packages=["vllm", "lmcache", "nixl"],
        model="model",
        make_model=[python, str(modules / "make_model.py")],
        controller=[str(Path(python).parent / "lmcache_controller")],
        lmcache=[python, str(modules / "bin" / "lmcache")],
        modules=modules,
        connector={"kv_connector_module_path": "kvproof_lab.connector"},
        sources=sorted(map(str, (modules / "kvproof_lab").glob("*.py"))),
    )


@dataclass(frozen=True)
class Lab:
    """A cluster's variables: those of roles/kv_lab without kv_lab_, where they say what they mean."""

    dir: Path
    nodes: list[Node]
    controller: Controller
    socket_dir: Path  # short: names of UNIX sockets have 107 characters at most
    architecture: str = "inprocess_p2p"  # a key of plan.ARCHITECTURES
    engine: str = "rehearsal"  # or vllm
    python: str = sys.executable
    model_name: str = "tiny"
    chunk_size: int = 256
    dtype: str = "float32"
    stall_fix: bool = True
    nixl: str = "poll"
    ssh_user: str = ""
    engine_user: str = ""
    log_mode: str = "0644"
    config_mode: str = "0644"
    start_timeout: float = 240.0

    @classmethod
    def of(cls, variables: dict[str, Any]) -> Lab:
        """From plain values, some of which may be numbers as text; those that are no field are left alone."""
        given = {field.name: variables[field.name] for field in fields(cls) if field.name in variables}
        return cls(
            **{
                **given,
                "dir": Path(given["dir"]),
                "socket_dir": Path(given["socket_dir"]),
                "nodes": [Node(**_numbers(node)) for node in given["nodes"]],
                "controller": Controller(**_numbers(given["controller"])),
                "chunk_size": int(given.get("chunk_size", cls.chunk_size)),
                "start_timeout": float(given.get("start_timeout", cls.start_timeout)),
            }
        )

    @property
    def stack(self) -> Stack:
        return _stack(self.engine, self.python)

    @property
    def model(self) -> Path:
        return self.dir / self.stack.model

    @property
    def addresses(self) -> dict[str, str]:
        """By role, the controller's too."""
        return {**{node.role: node.address for node in self.nodes}, "controller": self.controller.address}

    @property
    def has_controller(self) -> bool:
        """Or a coordinator."""
        return self.architecture in ("inprocess_p2p", "mp")

    @property
    def ssh_nodes(self) -> list[Node | Controller]:
        others = [self.controller] if self.has_controller else []
        return [node for node in (*self.nodes, *others) if node.ssh_port]

    def named(self, role: str) -> list[str]:
        """The names of the nodes of a role, of their cache servers (ROLE-server), of the controller or coordinator."""
        if role == REDIS:
            return [REDIS]
        if role in ("controller", "coordinator"):
            return [self.controller.name]
        role, _, server = role.partition("-")
        return [f"{node.name}-{server}" if server else node.name for node in self.nodes if node.role == role]

    def home(self, name: str) -> Path:
        return self.dir / "nodes" / name

    def log(self, name: str) -> Path:
        return self.dir / "logs" / f"{name}.log"

    def process(self, name: str, argv: list[str], **more: Any) -> dict[str, Any]:
        """A spec (supervise.py) whose record and log lie where this lab has them."""
        usual = {"env": BASE_ENVIRONMENT, "cwd": str(self.dir)}
        return supervise.spec(name, argv, self.dir / "run", self.dir / "logs", **{**usual, **more})


def _numbers(node: dict[str, Any]) -> dict[str, Any]:
    return {key: int(value) if key.endswith("port") else value for key, value in node.items()}


def is_root() -> bool:
    return os.geteuid() == 0


def me() -> str:
    """Who runs this."""
    return pwd.getpwuid(os.geteuid()).pw_name
