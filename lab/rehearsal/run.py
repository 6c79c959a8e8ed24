# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""Runs one engine or one controller in this process until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from .controller import Controller
from .engine import Engine, EngineExit
from .faults import close_process


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
        await until_told()
        await engine.stop()
        return 0

    return asyncio.run(main())


def run_controller(arguments: list[str]) -> int:
    async def main() -> int:
        controller = Controller(arguments, dict(os.environ), sys.stdout)
        try:
            await controller.start()
        except OSError as exc:
            print(f"Failed to start controller: {exc.strerror}", flush=True)
            return 1
        await until_told()
        await controller.stop()
        return 0

    return asyncio.run(main())
