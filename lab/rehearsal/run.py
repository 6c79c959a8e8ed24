# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""Runs one engine, controller, cache server or coordinator in this process until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from .controller import Controller
from .engine import Engine, EngineExit
from .faults import close_process
from .mp.coordinator import Coordinator
from .mp.server import CacheServer

LAST_ANSWER_S = 0.1  # for the answer to the request that an engine died of


async def until_told() -> None:
    """Returns on SIGTERM or SIGINT."""
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    await told.wait()


def run_engine(arguments: list[str]) -> int:
    """Exit code 1 where the real engine would give up, with its log on stdout."""

    async def main() -> int:
        engine = Engine(arguments, dict(os.environ), sys.stdout)
        if os.environ.get("LAB_FAULT") == "process-closed":
            close_process()
        try:
            await engine.start()
        except EngineExit:
            return 1
        except OSError as exc:
            print(f"OSError: [Errno {exc.errno}] {exc.strerror}", flush=True)
            return 1
        told, dead = asyncio.ensure_future(until_told()), asyncio.ensure_future(engine.dead.wait())
        await asyncio.wait([told, dead], return_when=asyncio.FIRST_COMPLETED)
        if engine.dead.is_set():
            await asyncio.sleep(LAST_ANSWER_S)
        told.cancel()
        await engine.stop()
        return int(engine.dead.is_set())

    return asyncio.run(main())


def run_controller(arguments: list[str]) -> int:
    return _run(Controller, arguments, "controller")


def run_lmcache(arguments: list[str]) -> int:
    """``server`` or ``coordinator`` and its options."""
    kinds = {"server": CacheServer, "coordinator": Coordinator}
    if not arguments or arguments[0] not in kinds:
        print(f"usage: lmcache {{{','.join(kinds)}}} ...", file=sys.stderr)
        return 2
    return _run(kinds[arguments[0]], arguments[1:], arguments[0])


def _run(kind: type[Controller] | type[CacheServer] | type[Coordinator], arguments: list[str], name: str) -> int:
    async def main() -> int:
        member = kind(arguments, dict(os.environ), sys.stdout)
        try:
            await member.start()
        except OSError as exc:
            print(f"Failed to start {name}: {exc.strerror}", flush=True)
            return 1
        await until_told()
        await member.stop()
        return 0

    return asyncio.run(main())
