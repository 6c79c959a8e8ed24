"""Addresses, listening sockets and dials of a node."""

from __future__ import annotations

import socket
import threading

import pytest
from fake_proc import FakeProc
from kvproof.node import sockets


def test_listening_sockets_are_read_from_both_tables(tmp_path):
    proc = FakeProc(tmp_path)
    proc.listen("127.0.0.97", 8200, 5)
    proc.listen("::", 8000, 6)
    proc.listen("::ffff:10.0.0.17", 9000, 7)
    proc.listen("10.0.0.17", 5000, 8, state="06")
    assert sockets.Listening(str(proc)).at() == [("127.0.0.97", 8200, "5"), ("::", 8000, "6"), ("10.0.0.17", 9000, "7")]
    assert sockets.Listening(str(proc)).at([8000, 9]) == [("::", 8000, "6")]
    (proc.folder / "net" / "tcp6").unlink()  # a kernel without IPv6
    assert sockets.Listening(str(proc)).at() == [("127.0.0.97", 8200, "5")]
    (proc.folder / "net" / "tcp").unlink()
    with pytest.raises(FileNotFoundError):
        sockets.Listening(str(proc)).at()


def test_the_real_tables_show_a_real_socket():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert ("127.0.0.1", port) in [(item.address, item.port) for item in sockets.Listening().at()]


def test_addresses(tmp_path):
    proc = FakeProc(tmp_path)
    assert sockets.addresses(str(proc)) == ["127.0.0.1", "10.0.0.17", "::1", "fe80::250:56ff:fe00:1"]
    assert "127.0.0.1" in sockets.addresses()
    assert sockets.addresses(str(tmp_path / "nothing")) == []


@pytest.mark.parametrize(
    ("address", "ours"),
    [
        ("10.0.0.17", True),
        ("127.0.0.13", True),
        ("127.255.0.1", True),
        ("10.0.0.18", False),
        ("::1", True),
        ("0:0:0:0:0:0:0:1", True),
        ("fd00::2", False),
        ("gpu-17", False),
        ("", False),
    ],
)
def test_is_ours(address, ours):
    assert sockets.is_ours(address, ["127.0.0.1", "10.0.0.17", "::1"]) is ours


def test_without_loopback_nothing_of_it_is_ours():
    assert sockets.is_ours("127.0.0.13", ["10.0.0.17"]) is False


def test_resolve(monkeypatch):
    assert sockets.resolve("127.0.0.13") == ["127.0.0.13"]
    assert "127.0.0.1" in sockets.resolve("localhost") or "::1" in sockets.resolve("localhost")
    assert sockets.resolve("x" * 300) == []

    def fails(*_args, **_kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    def hangs(*_args, **_kwargs):
        threading.Event().wait(5)
        fails()

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    assert sockets.resolve("gpu-17") == []
    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    assert sockets.resolve("gpu-17", timeout=0.05) is None


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("10.0.0.13:8200", ("10.0.0.13", 8200)),
        ("http://10.0.0.5:9000/x", ("10.0.0.5", 9000)),
        ("[fd00::1]:8200", ("fd00::1", 8200)),
        ("http://user:pw@h:1", ("h", 1)),
        ("tcp://h:2", ("h", 2)),
        ("h", (None, None)),
        ("h:x", (None, None)),
        (":80", (None, None)),
        ("h:0", (None, None)),
        ("h:70000", (None, None)),
        ("", (None, None)),
        (None, (None, None)),
    ],
)
def test_split(text, pair):
    assert sockets.split(text) == pair


def test_split_with_a_default_port():
    assert sockets.split("http://h/", 80) == ("h", 80)
    assert sockets.split("http://[::1]/", 80) == ("::1", 80)


def test_dials(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        dials = sockets.dial_all(
            [
                (f"127.0.0.1:{port}", "peer-init"),
                (f"127.0.0.1:{port}", "peer-init"),
                ("127.0.0.1:1", "controller-pull"),
                ("nonsense", "peer-lookup"),
            ],
            timeout=1.0,
        )
    assert [(entry["to"], entry["why"], entry["state"]) for entry in dials] == [
        (f"127.0.0.1:{port}", "peer-init", "open"),
        ("127.0.0.1:1", "controller-pull", "refused"),
    ]
    assert all(entry["ms"] >= 0 for entry in dials)

    def raises(error):
        def connect(*_args):
            raise error

        monkeypatch.setattr(socket, "create_connection", connect)

    for error, state in (
        (TimeoutError(), "timeout"),
        (OSError(101, "Network is unreachable"), "unreachable"),
        (OSError(113, "No route to host"), "unreachable"),
        (OSError(24, "files"), "error"),
        (socket.gaierror(-2, "unknown"), "error"),
    ):
        raises(error)
        assert sockets.dial("h", 1, 1.0)[0] == state


def test_dials_are_bounded(monkeypatch):
    monkeypatch.setattr(sockets, "dial", lambda *_args: threading.Event().wait(5))
    dials = sockets.dial_all([(f"h:{port}", "peer-init") for port in range(1, 200)], timeout=0.05)
    assert len(dials) == sockets.MAX_DIALS
    assert {entry["state"] for entry in dials} == {"timeout"}
