#!/usr/bin/env python3
# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways to carry HTTP through SSH: kvproof's tunnel (paramiko), and OpenSSH's `ssh -W`, alone and with a ControlMaster.

    .cache/venv/bin/python bench/ssh_ways.py [--rounds 15]

Each goes to the same sshd and the same HTTP server on this machine.  Of each way: what the first request takes, login
and process included; what one on a connection of its own takes afterwards; and one on a connection that is open.  The
rounds go through the ways in turn.  Prints medians in milliseconds and their ratio to the tunnel's.  Half a minute.
"""

from __future__ import annotations

import argparse
import http.client
import http.server
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "module_utils"), str(ROOT / "tests" / "support")]

from kvproof.transport.http import Deadline
from kvproof.transport.ssh_route import SshSettings
from kvproof.transport.ssh_tunnel import Tunnel
from sshd import Sshd

LIMIT_S = 60.0
Connect = Callable[[], socket.socket]


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one piece each: two would wait for each other's acknowledgement

    def do_GET(self) -> None:
        body = b"x" * 200
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        pass


class Piped:
    """Connections that are the standard input and output of an `ssh -W` each."""

    def __init__(self, words: list[str], host: str, port: int):
        self._words, self._to, self.processes = words, f"{host}:{port}", list[subprocess.Popen]()

    def __call__(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        command = [*self._words[:-1], "-W", self._to, self._words[-1]]
        self.processes.append(subprocess.Popen(command, stdin=theirs, stdout=theirs))
        theirs.close()
        return ours


def asked(sock: socket.socket) -> float:
    """Seconds of a request on an open connection."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection("node")
    connection.sock = sock
    connection.request("GET", "/")
    connection.getresponse().read()
    connection.sock = None
    return time.perf_counter() - began


def timed(connect: Connect) -> tuple[float, float, float]:
    """(first request, one on a new connection, one on an open connection), seconds."""
    began = time.perf_counter()
    first = connect()
    asked(first)
    took = time.perf_counter() - began
    began = time.perf_counter()
    second = connect()
    asked(second)
    new = time.perf_counter() - began
    open_s = statistics.median(asked(second) for _ in range(5))
    for sock in (first, second):
        sock.close()
    return took, new, open_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    results: dict[str, list[tuple[float, float, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sshd = Sshd(folder / "sshd")
        server = http.server.ThreadingHTTPServer((sshd.address, 0), Answer)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        words, host = ["ssh", "-o", "BatchMode=yes", *sshd.args()], [sshd.address]
        for number in range(rounds):
            master = ["-o", "ControlMaster=auto", "-o", f"ControlPath={folder}/m{number}", "-o", "ControlPersist=60"]
            tunnel = Tunnel(SshSettings(sshd.address, sshd.args()), Deadline(LIMIT_S))
            piped = [Piped([*words, *more, *host], *server.server_address) for more in ([], master)]
            ways: dict[str, Connect] = {
                "direct": lambda: socket.create_connection(server.server_address),
                "tunnel (paramiko)": lambda: tunnel.connection(*server.server_address, LIMIT_S),  # noqa: B023
                "ssh -W": piped[0],
                "ssh -W, ControlMaster": piped[1],
            }
            for way, connect in ways.items():
                results.setdefault(way, []).append(timed(connect))
            tunnel.close()
            subprocess.run([*words, *master, "-O", "exit", *host], capture_output=True, check=False)
            for process in (one for pipe in piped for one in pipe.processes):
                process.wait(timeout=10)
        server.shutdown()
        sshd.close()
    medians = {way: [statistics.median(column) * 1000 for column in zip(*rows)] for way, rows in results.items()}
    base = medians["tunnel (paramiko)"]
    print("| way | first request | on a new connection | on an open one |\n|---|---|---|---|")
    for way, values in medians.items():
        print(f"| {way} | " + " | ".join(f"{v:.3g} ms ({v / b:.2f})" for v, b in zip(values, base)) + " |")


if __name__ == "__main__":
    main()
