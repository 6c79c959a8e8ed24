# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""Sockets that lab/cluster/disturb.py puts in others' way: silent ones take connections, full ones not even that."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

DISTURB = Path(__file__).resolve().parents[2] / "lab" / "cluster" / "disturb.py"


@pytest.fixture
def ports():
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        found = [server.getsockname()[1] for server in (one, two)]
    words = [f"silent=127.0.0.1:{found[0]}", f"full=127.0.0.1:{found[1]}"]
    process = subprocess.Popen([sys.executable, str(DISTURB), "listen", *words], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"listening\n"
    yield found
    process.kill()
    process.communicate()


def test_a_silent_port_takes_a_connection_and_says_nothing(ports):
    with socket.create_connection(("127.0.0.1", ports[0]), timeout=10) as client:
        client.sendall(b"hello")
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(1)


def test_a_full_port_takes_no_connection(ports):
    with pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", ports[1]), timeout=0.5)
