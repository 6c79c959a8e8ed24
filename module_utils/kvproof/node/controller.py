# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an LMCache controller's node shows: `kvproof.controller/1` (docs/evidence.md).

Reads only: the process, its listening sockets, and `GET /controller/workers`.  Standard library only,
Python 3.8 and later.
"""

from __future__ import annotations

from ..stack import commands, workers
from ..stack.settings import LOOPBACK, WILDCARDS
from . import http as localhttp
from . import processes as procs
from . import sockets


def gather(*, name=None, url=None, port=None, host=None, timeout=2.0, proc="/proc"):
    """The CONTROLLER document.  `port` and `host` say where the controller's HTTP side should be; they
    follow from `url` where that is given.  Never raises for what it finds on the node.
    """
    if url:
        url_host, url_port = sockets.split(url, 443 if url.startswith("https:") else 80)
        host, port = host or url_host, port or url_port
    listening = sockets.Listening(proc)
    where = port or commands.CONTROLLER_PORT
    found = procs.find(where, host, commands.controller, proc, listening)
    if found.running is False and host not in LOOPBACK:
        local = procs.find(where, "localhost", commands.controller, proc, listening)
        found = local if local.command else found  # one that only its own host can reach
    options = commands.controller_options(found.command.options) if found.command else None
    url = url or _url(found, options)
    http, registered = _workers(url, timeout)
    return {
        "schema": "kvproof.controller/1",
        "name": name,
        "ssh": "ok",
        "url": url,
        "http": http,
        "workers": registered,
        "process": {
            "running": found.running,
            "pid": found.pid,
            "user": procs.owner(proc, found.pid) if found.pid else None,
            "found_by": found.found_by,
            "unseen": list(found.unseen),
        },
        "options": options,
        "listening": _listening(found, options, listening),
    }


def _url(found, options):
    """Where to ask a controller that was found without a URL: the address it binds."""
    if options:
        host, port = options["host"], options["port"]
    elif found.listeners:
        host, port = found.listeners[0].address, found.listeners[0].port
    else:
        return None
    host = "127.0.0.1" if host in WILDCARDS else host
    return "http://{}:{}".format(f"[{host}]" if ":" in host else host, port)


def _workers(url, timeout):
    """(CONTROLLER.http, CONTROLLER.workers)."""
    if not url:
        return {"state": "unset", "status": None, "text": "no URL is known"}, None
    answer, decoded = localhttp.get_json(url.rstrip("/") + workers.PATH, timeout)
    http = {"state": answer.state, "status": answer.status, "text": answer.text}
    if answer.state != "ok":
        return http, None
    registered = workers.listed(decoded)
    if registered is None:
        http.update(state="error", text="the answer is not a list of workers")
    return http, registered


def _listening(found, options, listening):
    """Listening sockets among the ports that the controller should have."""
    ports = {item.port for item in found.listeners or []}
    if options:
        ports |= {options["port"], *options["monitor_ports"].values()}
    try:
        listeners = listening.at(ports - {None}, found.pid)
    except OSError:
        return []
    return sockets.listed(listeners)
