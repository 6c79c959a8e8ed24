# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller as HTTP shows it: CONTROLLER's half that needs no login, and which worker an engine is."""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import urlsplit

from ..stack import workers
from ..transport.http import Deadline, HttpClient, RequestFailed, check_url
from ..transport.ssh_route import SshSettings
from .engine import Engine, open_tunnel

TIMEOUT_S = 2.0
_HTTP_STATES = {
    "connect": "refused",
    "timeout": "timeout",
    "deadline": "timeout",
    "json": "not-json",
    "ssh": "no-tunnel",
}


def controller_client(url: str | None, deadline: Deadline, ssh: SshSettings | None = None) -> HttpClient | None:
    """A client for the controller's HTTP server; None without URL."""
    if not url:
        return None
    return HttpClient(check_url(url, "controller_url"), deadline, tunnel=open_tunnel(ssh, deadline))


def read_controller(http: HttpClient | None) -> dict[str, Any] | None:
    """CONTROLLER as far as HTTP shows it (GET /controller/workers, LMCache 0.3.7 and later); None without URL."""
    if http is None:
        return None
    state: dict[str, Any] = {"state": "ok", "status": 200, "text": None}
    registered = None
    try:
        registered, state["text"] = _read(http)
    except RequestFailed as exc:
        state = {
            "state": _HTTP_STATES.get(exc.error["kind"], "error"),
            "status": exc.error["status"],
            "text": exc.error["text"],
        }
    return {
        "schema": "kvproof.controller/1",
        "name": None,
        "ssh": "not-used",
        "url": http.base,
        "http": state,
        "workers": registered,
        "process": {"running": None, "pid": None, "user": None, "found_by": None, "unseen": ["process"]},
        "options": None,
        "listening": None,
    }


def read_workers(http: HttpClient) -> list[dict[str, Any]]:
    """The controller's registered workers.  Raises RequestFailed."""
    return _read(http)[0]


def _read(http: HttpClient) -> tuple[list[dict[str, Any]], str | None]:
    """The workers, and a sentence on those that were left out."""
    answer = http.get_json(workers.PATH, TIMEOUT_S)
    registered = workers.listed(answer)
    if registered is None:
        raise RequestFailed(
            "json",
            f"{http.base}{workers.PATH} names no workers; "
            "see that kv_reuse_controller_url is that of lmcache_controller",
        )
    return registered, workers.left_out(answer)


def instance_of(engine: Engine, workers: list[dict[str, Any]]) -> str | None:
    """The engine's instance id at the controller: from its own configuration, else by its address."""
    own = engine.conf("lmcache_instance_id")
    names = {str(worker["instance_id"]) for worker in workers}
    if isinstance(own, str) and own in names:
        return own
    addresses = _addresses(urlsplit(engine.settings.url).hostname or "")
    if engine.tunnel:  # the URL is as the node sees it: its loopback addresses are not this machine's, nor a peer's
        addresses = {address for address in addresses if not address.startswith("127.")}
        addresses |= _addresses(engine.tunnel.host() or "")
    named = {
        str(worker["instance_id"])
        for worker in workers
        if addresses & {str(worker["ip"]), str(worker["peer_init_url"]).rpartition(":")[0]}
    }
    return named.pop() if len(named) == 1 else None


def _addresses(host: str) -> set[str]:
    try:
        return {host, *(str(info[4][0]) for info in socket.getaddrinfo(host, None))}
    except OSError:
        return {host}
