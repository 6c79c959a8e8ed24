# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of several processes answers at an address that leads into another network namespace: asked, never guessed.

A published port, a proxy or NAT stands before most containers, and each engine in one listens on the same port.  So one
connection is made to the address, and looked for in the namespaces of the processes; where a proxy ends it, the page of
metrics tells when the process that answers was started.
"""

from __future__ import annotations

import re
import socket

from ..stack.commands import Command
from . import http, processes, sockets

SAME_START_S = 0.1  # both are btime and clock ticks, of hundredths of a second
_STARTED = re.compile(rb"^process_start_time_seconds(?:\{[^}]*\})? ([0-9.e+]+)\s*$", re.MULTILINE)


def answering(
    host: str | None, port: int, commands: dict[int, Command], proc: str, timeout: float
) -> tuple[int, str] | None:
    """(pid, "connection" or "start time") of that one of `commands` which answers at `host`:`port`; None where nothing
    shows it, or not which one.

    Sends one connection without a byte, and then at most a GET of /metrics, which no engine counts as a request.
    """
    if not host:
        return None
    by_connection = _by_connection(host, port, commands, proc, timeout)
    if by_connection is None:  # nobody answers there
        return None
    if by_connection:
        return (by_connection[0], "connection") if len(by_connection) == 1 else None
    started = _start_told(host, port, timeout)
    same = [
        pid
        for pid in commands
        if started is not None and abs((processes.started_at(proc, pid) or 0.0) - started) <= SAME_START_S
    ]
    return (same[0], "start time") if len(same) == 1 else None


def _by_connection(host, port, commands, proc, timeout):
    """pids of those at which a connection to the address arrives; None where it cannot be made."""
    try:
        connection = socket.create_connection((host, port), timeout)
    except OSError:
        return None
    with connection:
        mine = connection.getsockname()[1]
        own = sockets.addresses(proc)
        arrivals = {pid: sockets.arrived(proc, pid, mine, own) for pid in commands}
    return [
        pid
        for pid, ports in arrivals.items()
        if ports and (commands[pid] is None or commands[pid].port is None or commands[pid].port in ports)
    ]


def _start_told(host, port, timeout):
    """When the process behind an address was started, as its metrics tell; None where they do not."""
    place = f"[{host}]" if ":" in host else host
    answer = http.get(f"http://{place}:{port}/metrics", timeout)
    match = _STARTED.search(answer.body) if answer.state == "ok" else None
    try:
        return float(match.group(1)) if match else None
    except ValueError:
        return None
