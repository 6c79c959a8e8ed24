# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bounds on what a host's answer may take: seconds, and bytes that are read of it.

Ansible's connections read until the other end closes, and keep all of it.  What bounds them here is a timer's signal in
this worker: it stops the reading whichever connection reads, and then ends the processes that it left behind.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import time
from collections.abc import Iterator

TICK_S = 0.1
MOST_BYTES = 32 << 20  # an answer with 5,000 events of a log has 3 MB


class Exceeded(Exception):
    """The host took too long, or said too much; the message is the end of a sentence about it."""


class _Stop(BaseException):
    """No Exception: a connection plugin must not take it for its own and try again."""


@contextlib.contextmanager
def bounded(seconds: float, most_bytes: int = MOST_BYTES) -> Iterator[None]:
    """Ends what runs in it after so many seconds, or when this process has read so many bytes.  Raises Exceeded.

    In the main thread alone, as signals are; Ansible's workers are processes with one thread.
    """
    end, begun = time.monotonic() + seconds, _bytes_read()
    why = []

    def look(*_args: object) -> None:
        if time.monotonic() > end:
            why.append(f"did not end within {seconds:g} s (kv_reuse_node_timeout)")
        elif _bytes_read() - begun > most_bytes:
            why.append(f"said more than {most_bytes >> 20} MB, which no node has to say")
        else:
            return
        signal.setitimer(signal.ITIMER_REAL, 0)
        raise _Stop

    before = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, TICK_S, TICK_S)
    try:
        yield
    except _Stop:
        _end_children()
        raise Exceeded(why[0]) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _bytes_read() -> int:
    """By this process so far; where the system does not count them, the memory that it has come to need."""
    try:
        with open("/proc/self/io", "rb") as counters:
            return int(counters.readline().split()[1])
    except (OSError, IndexError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _end_children() -> None:
    """The ssh, or the shell and what it started, that nobody reads any more."""
    for pid in _descendants(os.getpid()):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _descendants(of: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc") if os.path.isdir("/proc/self") else ()):
        with contextlib.suppress(OSError, IndexError, ValueError):
            with open(f"/proc/{name}/stat", "rb") as status:
                parent = int(status.read().rpartition(b")")[2].split()[1])
            children.setdefault(parent, []).append(int(name))
    pids = [of]
    for pid in pids:
        pids += children.get(pid, [])
    return pids[1:]
