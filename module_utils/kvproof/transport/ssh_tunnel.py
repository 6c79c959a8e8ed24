# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP through SSH: connections of requests that are direct-tcpip channels.  No port is opened on any machine.

Each connection is one end of a socket pair whose other end is copied to and from its channel, so that TLS, time-outs
and http.client meet a socket of the operating system.
"""

from __future__ import annotations

import socket
import statistics
import threading
import time
from typing import Any

from .http import Deadline, RequestFailed
from .ssh_login import alive, bounded, channel, connect, login
from .ssh_route import Hop, RouteError, SshSettings, failed, route

try:
    from requests.adapters import HTTPAdapter
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
except ImportError:  # reported by http.py
    HTTPAdapter = object  # type: ignore[assignment,misc]

LOGIN_TIMEOUT_S = 20.0
PING_TIMEOUT_S = 3.0
PINGS = 5
PIECE = 65536


class Tunnel:
    """An SSH connection to a node, through which its HTTP servers are reached.  Opened by its first use."""

    def __init__(self, settings: SshSettings, deadline: Deadline):
        self._settings, self._deadline = settings, deadline
        self._lock = threading.Lock()
        self._clients: list[Any] = []
        self._hops: list[Hop] = []
        self._failure: RequestFailed | None = None
        self._open_s: float | None = None
        self._pings: list[float] = []

    def open(self) -> None:
        """Logs in, once.  Raises RequestFailed of kind ssh; after a login that failed, the same error again."""
        with self._lock:
            if self._failure is None and not self._clients:
                try:
                    self._log_in()
                except RequestFailed as exc:
                    self._failure = exc
            if self._failure is not None:
                raise self._failure

    def mount(self, session: Any) -> None:
        """Makes all connections of a requests.Session channels of this tunnel."""
        adapter = _Adapter(self)
        session.mount("http://", adapter)
        session.mount("https://", adapter)

    def connection(self, host: str, port: int, timeout: float | None) -> socket.socket:
        """A connected socket to host:port as the node sees it.  Raises RequestFailed."""
        self.open()
        made = channel(self._clients[-1], self._hops[-1], host, port, timeout or LOGIN_TIMEOUT_S)
        ours, theirs = socket.socketpair()
        ours.settimeout(timeout)
        for copy in (_from_channel, _to_channel):
            threading.Thread(target=copy, args=(made, theirs), daemon=True).start()
        return ours

    def lost(self) -> RequestFailed | None:
        """Why nothing comes through any more, None while the node still answers."""
        if self._failure is None and self._clients and self.ping() is None:
            hop = self._hops[-1]
            self._failure = failed(f"the SSH connection to {hop} was lost: see its sshd's log and the network")
        return self._failure

    def ping(self) -> float | None:
        """Seconds of a round trip to the node's SSH server, None where it does not answer."""
        client, began = self._clients[-1], time.perf_counter()
        try:
            bounded(lambda: client.get_transport().global_request("keepalive@openssh.com", wait=True), PING_TIMEOUT_S)
        except Exception:  # a transport that has ended, or that hangs
            return None
        return time.perf_counter() - began if alive(client) else None

    def measure(self) -> None:
        """Adds some round trips to those that document() sums up."""
        if self._clients and self._failure is None:
            self._pings += [seconds for seconds in (self.ping() for _again in range(PINGS)) if seconds is not None]

    def document(self) -> dict[str, Any]:
        """TUNNEL: the way taken and what it costs."""
        return {
            "via": [str(hop) for hop in self._hops] or [self._settings.host],
            "open_s": self._open_s,
            "rtt_s": round(statistics.median(self._pings), 6) if self._pings else None,
            "rtt_max_s": round(max(self._pings), 6) if self._pings else None,
            "pings": len(self._pings),
        }

    def host(self) -> str | None:
        """The node's address as SSH knows it, once it was looked up."""
        return self._hops[-1].host if self._hops else None

    def close(self) -> None:
        for client in reversed(self._clients):
            client.close()

    def _log_in(self) -> None:
        began = time.perf_counter()
        limit = min(LOGIN_TIMEOUT_S, self._deadline.left())
        try:
            bounded(lambda: self._walk(limit), limit)
        except RouteError as exc:
            raise failed(str(exc)) from None
        except TimeoutError:
            where = self._hops[-1] if self._hops else self._settings.host
            raise failed(f"no login at {where} within {limit:.0f} s: see its sshd's log, and try ssh -v") from None
        self._open_s = round(time.perf_counter() - began, 6)
        self.measure()

    def _walk(self, limit: float) -> None:
        """From hop to hop; the password is the target's alone."""
        clients: list[Any] = []
        self._hops = route(self._settings.host, self._settings.args)
        for number, hop in enumerate(self._hops):
            last = hop is self._hops[-1]
            try:
                if clients and not hop.proxy_command:
                    sock = channel(clients[-1], self._hops[number - 1], hop.host, hop.port, limit)
                else:
                    sock = connect(hop, limit)
            except RequestFailed as exc:  # of any kind: the node cannot be reached, which is not the engine's fault
                raise failed(exc.error["text"]) from None
            clients.append(login(hop, sock, self._settings.password if last else None, limit))
        self._clients = clients


class _Adapter(HTTPAdapter):
    def __init__(self, tunnel: Tunnel):
        self._tunnel = tunnel
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        pools = {"http": HTTPConnectionPool, "https": HTTPSConnectionPool}
        self.poolmanager.pool_classes_by_scheme = {
            scheme: _through(self._tunnel, pool) for scheme, pool in pools.items()
        }


def _through(tunnel: Tunnel, pool: Any) -> Any:
    """urllib3's pool whose connections come from the tunnel."""

    class Connection(pool.ConnectionCls):
        def _new_conn(self) -> socket.socket:
            return tunnel.connection(self.host, self.port, self.timeout)

    return type(pool.__name__, (pool,), {"ConnectionCls": Connection})


def _from_channel(made: Any, theirs: socket.socket) -> None:
    try:
        while True:
            data = made.recv(PIECE)
            if not data:
                break
            theirs.sendall(data)
    except OSError:
        pass
    _shut(theirs, socket.SHUT_WR)


def _to_channel(made: Any, theirs: socket.socket) -> None:
    """Copies until the client closes its end, then closes the channel."""
    try:
        while True:
            data = theirs.recv(PIECE)
            if not data:
                break
            made.sendall(data)
    except OSError:
        pass
    try:
        made.close()
    except (OSError, EOFError):
        pass  # the tunnel is gone, and the channel with it
    theirs.close()


def _shut(sock: socket.socket, how: int) -> None:
    try:
        sock.shutdown(how)
    except OSError:
        pass
