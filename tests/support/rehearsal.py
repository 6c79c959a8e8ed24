# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""Puts a small rehearsal cluster under a test: starts it in this process, asks its engines, reads its logs."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

pytest.importorskip("aiohttp", reason="the rehearsal's requirements are not installed (lab/rehearsal)")
pytest.importorskip("cbor2", reason="the rehearsal's requirements are not installed (lab/rehearsal)")

import aiohttp
from kvproof.stack import lines

from lab.cluster.members import Members

#: nothing has to be waited for
TIMES = ("prefill_base_s", "prefill_token_s", "decode_token_s", "first_logprobs_s", "handshake_s", "transfer_latency_s")
FAST = {**dict.fromkeys(TIMES, 0.0), "flush_s": 0.05, "register_limit_s": 1.0}
_NUMBER = itertools.count(1)


def prompt(seed: int, tokens: int = 600) -> list[int]:
    """Token ids that no other seed shares."""
    return [300 + (seed * 7919 + index * (seed + 3)) % 1700 for index in range(tokens)]


class Stage:
    """A cluster with controller c and nodes p (holder) and d (receiver), unless told otherwise."""

    def __init__(
        self,
        folder: Path,
        changes: dict[str, dict[str, Any]],
        *,
        controller: bool = True,
        parameters: dict[str, Any] | None = None,
    ):
        block = f"127.{100 + os.getpid() % 100}.{next(_NUMBER) % 250}"
        self.addresses = {"c": f"{block}.5", "p": f"{block}.13", "d": f"{block}.97"}
        self.folder = folder
        at = {"name": "c", "host": self.addresses["c"], "port": 9000, "pull": 8300, "reply": 8400}
        self.members = Members(
            {
                "folder": str(folder),
                "worker_ports": _free_ports(),
                "parameters": {**FAST, **(parameters or {})},
                "controllers": [{**at, **changes.get("c", {})}] if controller else [],
                "nodes": [{"name": name, "address": self.addresses[name], **changes.get(name, {})} for name in "pd"],
            }
        )
        self.http: aiohttp.ClientSession | None = None

    async def get(self, name: str, path: str, port: int = 8000) -> tuple[int, Any]:
        """Status and JSON (or text) of a GET."""
        async with self.http.get(f"http://{self.addresses[name]}:{port}{path}") as reply:
            text = await reply.text()
            try:
                return reply.status, await reply.json(content_type=None)
            except ValueError:
                return reply.status, text

    async def ask(self, name: str, ids: list[int], role: str = "x", **body: Any) -> dict[str, Any]:
        """The answer to a completion with X-Request-Id ``role``."""
        body = {"model": "tiny", "prompt": ids, "max_tokens": 4, "temperature": 0, **body}
        url = f"http://{self.addresses[name]}:8000/v1/completions"
        async with self.http.post(url, json=body, headers={"X-Request-Id": role}) as reply:
            return await reply.json()

    async def registered(self, wanted: int = 2) -> None:
        for _ in range(200):
            _status, answer = await self.get("c", "/controller/workers", 9000)
            if answer["total_count"] >= wanted:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"{wanted} workers did not register")

    async def announced(self, instance: str, keys: int) -> None:
        for _ in range(200):
            _status, answer = await self.get("c", "/controller/workers", 9000)
            if any(one["instance_id"] == instance and one["key_count"] >= keys for one in answer["workers"]):
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"{instance} did not announce {keys} keys")

    async def told(self, name: str, role: str, kind: str) -> None:
        """Until a member's log has an event of a request: the answer can come before the line that tells of it."""
        for _ in range(200):
            if kind in self.kinds(name, role):
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"{name} logged no {kind} of {role}: {self.kinds(name, role)}")

    def events(self, name: str, role: str | None = None) -> list[dict[str, Any]]:
        """Events of a member's log, those of one request where ``role`` is given."""
        scanner, found = lines.Scanner(), []
        for raw in (self.folder / f"{name}.log").read_bytes().splitlines(keepends=True):
            event = scanner.feed(raw, 0)
            if event and (role is None or (event.get("id") and lines.same_request(role, event["id"]))):
                found.append(event)
        return found

    def kinds(self, name: str, role: str | None = None) -> list[str]:
        return [event["kind"] for event in self.events(name, role)]


def _free_ports(count: int = 40) -> int:
    """The first of so many ports that nobody listens on."""
    for first in range(21000 + os.getpid() % 400 * count, 60000, count):
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("0.0.0.0", port))
        except OSError:
            continue
        return first
    raise OSError("no free ports")


def cached(answer: dict[str, Any]) -> int:
    return answer["usage"]["prompt_tokens_details"]["cached_tokens"]


def play(
    folder: Path,
    story: Callable[[Stage], Awaitable[Any]],
    changes: dict[str, dict[str, Any]] | None = None,
    **stage: Any,
) -> Any:
    """Runs ``story`` on a cluster that is up and registered (where there is a controller)."""

    async def main() -> Any:
        scene = Stage(folder, changes or {}, **stage)
        async with aiohttp.ClientSession() as scene.http:
            await scene.members.start()
            try:
                return await story(scene)
            finally:
                await scene.members.stop()

    return asyncio.run(main())
