# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logs in to one SSH server with paramiko: host key checked, keys and agent as ssh's configuration has them.

Every failure is one sentence that says what to do.  It proves nothing about the engine behind the server.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from typing import Any

try:
    import paramiko

    PARAMIKO_IMPORT_ERROR = None
except ImportError as exc:  # reported by the module with missing_required_lib, where a tunnel is wanted
    paramiko = None  # type: ignore[assignment]
    PARAMIKO_IMPORT_ERROR = exc

from .http import RequestFailed
from .ssh_route import ACCEPT_NEW, NO, Hop, address, failed

PROHIBITED, CONNECT_FAILED = 1, 2  # RFC 4254: why a channel was not opened


def bounded(call: Callable[[], Any], seconds: float) -> Any:
    """The result of a call that may hang where no time-out helps, such as in a name lookup.  Raises TimeoutError."""
    outcome: dict[str, Any] = {}

    def run() -> None:
        try:
            outcome["value"] = call()
        except BaseException as exc:
            outcome["error"] = exc

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if "error" in outcome:
        raise outcome["error"]
    if thread.is_alive():
        raise TimeoutError(f"not within {seconds:.0f} s")
    return outcome.get("value")


def login(hop: Hop, sock: Any, password: str | None, limit: float) -> Any:
    """A logged-in paramiko.SSHClient over a socket, channel or proxy command.  Raises RequestFailed of kind ssh."""
    logging.getLogger("paramiko").addHandler(logging.NullHandler())  # it prints tracebacks where nobody listens
    client = paramiko.SSHClient()
    for path in hop.known_hosts:
        if os.path.isfile(path):
            try:
                client.load_system_host_keys(path)
            except OSError as exc:
                raise failed(f"{path} cannot be read ({exc.strerror}): let this user read it") from None
    client.set_missing_host_key_policy(_policy(hop))
    keys = [path for path in hop.keys if os.path.isfile(path)]
    try:
        client.connect(
            hop.known_as or hop.host,  # names only the known_hosts entry: `sock` is the connection
            22 if hop.known_as else hop.port,
            hop.user,
            password,
            sock=sock,
            pkey=_listed_agent_key(hop, keys),
            key_filename=keys,
            allow_agent=hop.agent and not hop.listed_keys_only,
            look_for_keys=False,  # ssh's own list has them
            timeout=limit,
            banner_timeout=limit,
            auth_timeout=limit,
            channel_timeout=limit,
        )
    except Exception as exc:
        client.close()
        raise _explain(exc, hop, keys) from None
    client.get_transport().set_keepalive(15)
    return client


def connect(hop: Hop, limit: float) -> Any:
    """A TCP connection to an SSH server, or its proxy command.  Raises RequestFailed of kind ssh."""
    where = address(hop.host, hop.port)
    try:
        if hop.proxy_command:
            return _proxied(hop.proxy_command)
        return _PromptSocket(socket.create_connection((hop.host, hop.port), limit))
    except socket.gaierror:
        raise failed(f"the name {hop.host} does not resolve on this machine: correct ansible_host") from None
    except ConnectionRefusedError:
        raise failed(
            f"no SSH server listens at {where} (connection refused): correct ansible_host and ansible_port"
        ) from None
    except TimeoutError:
        raise failed(f"no SSH server answers at {where}: correct ansible_host, or open the firewall") from None
    except OSError as exc:
        raise failed(
            f"{where} cannot be reached with SSH ({exc.strerror or exc}): check ansible_host and network"
        ) from None


def _proxied(command: str) -> socket.socket:
    """A socket to a proxy command, run as ssh runs it.  paramiko's own never ends when the command does."""
    ours, theirs = socket.socketpair()
    with theirs:
        end = theirs.fileno()
        subprocess.Popen(["sh", "-c", f"exec {command}"], stdin=end, stdout=end, stderr=subprocess.DEVNULL)
    return ours


class _PromptSocket(socket.socket):
    """Sends at once and acknowledges at once.

    sshd does not set TCP_NODELAY where it only forwards, so its kernel keeps a token back until the token before is
    acknowledged, which a delayed acknowledgement does 40 ms late.
    """

    def __init__(self, connected: socket.socket):
        timeout = connected.gettimeout()
        super().__init__(fileno=connected.detach())
        self.settimeout(timeout)
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._acknowledge()

    def recv(self, *args: Any) -> bytes:
        data = super().recv(*args)
        self._acknowledge()  # the kernel clears the option by itself
        return data

    def _acknowledge(self) -> None:
        if hasattr(socket, "TCP_QUICKACK"):  # Linux
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def channel(client: Any, hop: Hop, host: str, port: int, limit: float) -> Any:
    """A direct-tcpip channel to host:port as the server sees it.

    Raises RequestFailed: of kind ssh where the server allows none, of kind connect or timeout where it could not
    connect to what is behind it.
    """
    there = address(host, port)
    try:
        return client.get_transport().open_channel("direct-tcpip", (host, port), ("127.0.0.1", 0), timeout=limit)
    except paramiko.ChannelException as exc:
        if exc.code == CONNECT_FAILED:
            raise _nothing_there(hop, there, exc.text or "connect failed", "connect") from None
        reason = exc.text or "no reason given"
        if exc.code == PROHIBITED:
            raise failed(
                f"{hop} forbids forwarding to {there} ({reason}): set AllowTcpForwarding local (and PermitOpen "
                f"{there}, where it is used) in its sshd_config, or use kv_reuse_transport: http"
            ) from None
        raise failed(f"{hop} opens no channel to {there} ({reason}): see its sshd's log") from None
    except (paramiko.SSHException, EOFError, OSError, AttributeError) as exc:
        if alive(client) and "imeout" in str(exc):
            raise _nothing_there(hop, there, "no answer to the connection", "timeout") from None
        raise failed(
            f"the SSH connection to {hop} was lost ({_short(exc)}): see its sshd's log and the network"
        ) from None


def alive(client: Any) -> bool:
    transport = client.get_transport()
    return transport is not None and transport.is_active()


def _nothing_there(hop: Hop, there: str, reason: str, kind: str) -> RequestFailed:
    return RequestFailed(
        kind,
        f"{hop} reaches nothing at {there} ({reason.lower()}): start the server, or correct the URL, which is as "
        "the node itself sees it",
    )


class _UnknownHostKey(Exception):
    pass


def _policy(hop: Hop) -> Any:
    class Policy(paramiko.MissingHostKeyPolicy):
        def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:
            if hop.strict not in (NO, ACCEPT_NEW):
                digest = base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")
                raise _UnknownHostKey(f"{key.get_name()} SHA256:{digest}")

    return Policy()


def _listed_agent_key(hop: Hop, keys: list[str]) -> Any:
    """With IdentitiesOnly: the agent's key that an identity file names, as ssh uses it for encrypted files."""
    if not (hop.agent and hop.listed_keys_only):
        return None
    public = set()
    for path in hop.keys:
        try:
            with open(path if path.endswith(".pub") else path + ".pub", encoding="utf-8") as file:
                public.add(file.read().split()[1])
        except (OSError, IndexError, UnicodeDecodeError):
            continue
    try:
        return next((key for key in paramiko.Agent().get_keys() if key.get_base64() in public), None)
    except (paramiko.SSHException, OSError):
        return None


def _explain(exc: BaseException, hop: Hop, keys: list[str]) -> Exception:
    files = ", ".join(hop.known_hosts) or "no known_hosts file"
    if isinstance(exc, _UnknownHostKey):
        return failed(
            f"the host key of {hop} ({exc}) is in none of {files}: compare it with the server's and add it, or log in "
            "once with ssh"
        )
    if isinstance(exc, paramiko.BadHostKeyException):
        return failed(
            f"the host key of {hop} is not the one in {files}: find out why it changed; if the server was set up anew, "
            "take the old one out with ssh-keygen -R"
        )
    if isinstance(exc, paramiko.PasswordRequiredException):
        return failed(f"a key for {hop} is encrypted ({', '.join(keys)}): add it to ssh-agent")
    if isinstance(exc, paramiko.AuthenticationException) or "authentication" in str(exc).lower():
        tried = ", ".join([*keys, *["the agent's keys"] * hop.agent]) or "no key found"
        return failed(
            f"{hop} refused the login (tried: {tried}): correct ansible_user and ansible_ssh_private_key_file"
        )
    return failed(f"no SSH session with {hop} ({_short(exc)}): see its sshd's log, and try ssh -v")


def _short(exc: BaseException) -> str:
    return " ".join((str(exc) or type(exc).__name__).split())[:160]
