# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a function in a child process and says what it took: what must end in time and stay small can be held to it."""

from __future__ import annotations

import os
import pickle
import resource
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SPACE = 8 << 30  # bytes of address space of a child: it must fail before the machine does


@dataclass
class Measured:
    """What a function returned, or the exception it ended with, and what it took."""

    value: Any
    error: str | None
    wall_s: float
    cpu_s: float
    megabytes: float  # of memory, beyond what the process had before


def run(function: Callable[[], Any], seconds: float) -> Measured:
    """Calls the function in a fork, which is killed after so many seconds.  Raises TimeoutError then."""
    reading, writing = os.pipe()
    began = time.monotonic()
    child = os.fork()
    if not child:
        _child(function, writing)
    os.close(writing)
    try:
        answer = _read(reading, began + seconds)
    finally:
        os.close(reading)
        if _is_alive(child):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if answer is None:
        raise TimeoutError(f"it did not end within {seconds:g} s")
    if not answer:
        raise ChildProcessError("it ended without an answer: out of memory, or by a signal")
    value, error, cpu_s, megabytes = pickle.loads(answer)
    return Measured(value, error, time.monotonic() - began, cpu_s, megabytes)


def _child(function: Callable[[], Any], writing: int) -> None:
    code = 1
    try:
        resource.setrlimit(resource.RLIMIT_AS, (SPACE, SPACE))
        before, began = _megabytes(), time.process_time()
        value = error = None
        try:
            value = function()
        except BaseException as exc:
            error = f"{type(exc).__name__}: {exc}"[:500]
        took = (time.process_time() - began, _megabytes() - before)
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(pickle.dumps((value, error, *took)))
        code = 0
    finally:
        os._exit(code)


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _read(reading: int, end: float) -> bytes | None:
    """What the child wrote until it closed its end; None where it did not in time."""
    pieces = []
    while True:
        if not select.select([reading], [], [], max(0.0, end - time.monotonic()))[0]:
            return None
        piece = os.read(reading, 1 << 20)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)


def _is_alive(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
