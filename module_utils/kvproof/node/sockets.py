# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses, listening sockets and reachability, as seen from one node.

A dial connects and closes, nothing is sent: a ZeroMQ socket drops such a connection without a trace.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
import struct
import threading
import time
from collections import namedtuple
from collections.abc import Iterable

Listener = namedtuple("Listener", "address port inode")
MAX_DIALS = 32
_BLOCK = 1 << 16
_LISTENING = rb": ([0-9A-F]+):(%s) [0-9A-F]+:[0-9A-F]+ 0A \S+ \S+ \S+ +\d+ +\d+ (\d+)"
_OPEN = rb": [0-9A-F]+:([0-9A-F]{4}) ([0-9A-F]+):%04X 01 "
_MAX_TABLE = 16 << 20


class Listening:
    """Listening TCP sockets, of each network namespace as they were when it was first asked about.

    Source: /proc/net/tcp and tcp6, whose addresses are 32-bit words in the machine's byte order.  Listening sockets
    come first there (tcp_seq_start in the kernel), and a busy host has a hundred thousand connections after them.
    """

    def __init__(self, proc: str = "/proc"):
        self._proc = proc
        self._tables: dict = {}

    def at(self, ports: Iterable[int] | None = None, pid: int | None = None) -> list[Listener]:
        """Listeners on these ports (None: on all) in our network namespace, or process `pid`'s; raises OSError."""
        port_pattern = b"[0-9A-F]{4}" if ports is None else b"|".join(b"%04X" % port for port in ports)
        if not port_pattern:
            return []
        rows = re.findall(_LISTENING % port_pattern, self._table(pid))
        return [Listener(_address(address.decode()), int(port, 16), inode.decode()) for address, port, inode in rows]

    def listed(self, ports: Iterable[int], pid: int | None = None) -> list[dict]:
        """The same as documents show them; none where they cannot be read."""
        try:
            listeners = self.at(ports, pid)
        except OSError:
            return []
        places = sorted({(listener.address, listener.port) for listener in listeners})
        return [{"address": address, "port": port} for address, port in places]

    def _table(self, pid):
        name = namespace(self._proc, pid)
        if name not in self._tables:
            self._tables[name] = _listening_lines(os.path.join(self._proc, str(pid) if pid else "", "net"))
        return self._tables[name]


def namespace(proc: str, pid: int | None = None) -> object:
    """What tells the network namespace of a process (None: ours) from others.

    The table's inode number is the namespace's own, and every user may see it; ns/net may be read by its owner only.
    """
    try:
        status = os.stat(os.path.join(proc, str(pid) if pid else "", "net", "tcp"))
    except OSError:
        return pid
    return status.st_dev, status.st_ino


def arrived(proc: str, pid: int, port: int, own: Iterable[str]) -> set[int]:
    """Ports of process `pid`'s namespace with an open connection from `port` of one of the addresses `own`."""
    ports = set()
    for name in ("tcp", "tcp6"):
        try:
            with open(os.path.join(proc, str(pid), "net", name), "rb") as table:
                rows = re.findall(_OPEN % port, table.read(_MAX_TABLE))
        except OSError:
            continue
        ports |= {int(local, 16) for local, address in rows if is_ours(_address(address.decode()), list(own))}
    return ports


def _listening_lines(folder):
    """The lines of both tables that may be of listening sockets; raises OSError."""
    with open(os.path.join(folder, "tcp"), "rb") as table:
        lines = _first_lines(table)
    try:
        with open(os.path.join(folder, "tcp6"), "rb") as table:
            return lines + _first_lines(table)
    except FileNotFoundError:  # no IPv6 here
        return lines


def _first_lines(table):
    blocks = []
    table.readline()
    for block in iter(lambda: table.read(_BLOCK), b""):
        blocks.append(block)
        whole = block.rsplit(b"\n", 2)
        if len(whole) == 3 and b" 0A " not in whole[1]:
            break
    return b"".join(blocks)


def _address(words):
    if len(words) == 8:
        return socket.inet_ntoa(struct.pack("=I", int(words, 16)))
    raw = b"".join(struct.pack("=I", int(words[at : at + 8], 16)) for at in range(0, len(words), 8))
    address = ipaddress.IPv6Address(raw)
    return str(address.ipv4_mapped or address)


def addresses(proc: str = "/proc") -> list[str]:
    """Addresses of this network namespace, loopback's network not spelled out (see `is_ours`)."""
    own = []
    for path, collect in (("net/fib_trie", _ipv4_addresses), ("net/if_inet6", _ipv6_addresses)):
        try:
            with open(os.path.join(proc, path), encoding="ascii") as table:
                own += collect(table)
        except OSError:
            continue
    return list(dict.fromkeys(own))


def _ipv4_addresses(table):
    """Addresses marked `/32 host LOCAL` in the routing trie: each follows the line with its address."""
    last = None
    for line in table:
        words = line.split()
        if words[:1] in (["|--"], ["+--"]) and len(words) > 1:
            last = words[1].split("/")[0]
        elif words[:3] == ["/32", "host", "LOCAL"] and last:
            yield last


def _ipv6_addresses(table):
    for line in table:
        raw = line.split()[:1]
        if raw and len(raw[0]) == 32:
            yield str(ipaddress.IPv6Address(int(raw[0], 16)))


def is_ours(address: str, own: list[str]) -> bool:
    """Whether a process here can bind `address`: one of `own`, or anything in 127.0.0.0/8 with loopback up."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if parsed.version == 4 and parsed.is_loopback:
        return any(other.startswith("127.") for other in own)
    return str(parsed) in own or address in own


def resolve(name: str, timeout: float = 2.0) -> list[str] | None:
    """Addresses of a host name (or of an address: itself), [] when it has none, None without an answer."""
    try:
        return [str(ipaddress.ip_address(name))]
    except ValueError:
        pass
    answers = []

    def ask():
        try:
            answers.append(
                list(dict.fromkeys(item[4][0] for item in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)))
            )
        except (OSError, UnicodeError):
            answers.append([])

    thread = threading.Thread(target=ask, daemon=True)  # a resolver can hang for longer than we may
    thread.start()
    thread.join(timeout)
    return answers[0] if answers else None


def split(target: object, default_port: int | None = None) -> tuple[str | None, int | None]:
    """(host, port) of `host:port`, `[v6]:port` or a URL with them; (None, None) if it is neither."""
    text = str(target).split("://", 1)[-1].split("/", 1)[0].rsplit("@", 1)[-1]
    host, colon, digits = text.rpartition(":")
    given: str | int | None = digits
    if not colon or (text.endswith("]") and text.startswith("[")):
        host, given = text, default_port
    try:
        port = int(given or "")
    except ValueError:
        return None, None
    host = host.strip("[]")
    return (host, port) if host and 0 < port < 65536 else (None, None)


def dial(host: str, port: int, timeout: float) -> tuple[str, float]:
    """(state, milliseconds) of one TCP connection: open, refused, timeout, unreachable or error."""
    began = time.monotonic()
    try:
        socket.create_connection((host, port), timeout).close()
        state = "open"
    except (socket.timeout, TimeoutError):
        state = "timeout"
    except ConnectionRefusedError:
        state = "refused"
    except OSError as error:
        unreachable = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL)
        state = "unreachable" if error.errno in unreachable else "error"
    return state, round((time.monotonic() - began) * 1000.0, 1)


def dial_all(targets: list[tuple[str, str]], timeout: float) -> list[dict]:
    """DIAL entries for `(to, why)` pairs, all at once; what is no `host:port` is left out.

    Bounded: at most MAX_DIALS, and about `timeout` seconds together (a name that resolves slowly counts as
    a time-out).
    """
    dials = [(to, why) for to, why in dict.fromkeys(targets) if split(to)[0]][:MAX_DIALS]
    results = {}

    def run(key):
        results[key] = dial(*split(key[0]), timeout)

    threads = [threading.Thread(target=run, args=(key,), daemon=True) for key in dials]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 2 * timeout
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    entries = []
    for to, why in dials:
        state, spent = results.get((to, why), ("timeout", round(2000.0 * timeout, 1)))
        entries.append({"to": to, "why": why, "state": state, "ms": spent})
    return entries
