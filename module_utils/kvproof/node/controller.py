# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an LMCache controller's node shows: `kvproof.controller/1` (docs/evidence.md).

Reads only: the process, its listening sockets, and `GET /controller/workers`.
"""

from __future__ import annotations

from ..stack import commands, workers
from ..stack.settings import LOOPBACK, WILDCARDS
from . import arguments, identity, processes, sockets
from .http import get_json


def gather(proc: str = "/proc", **given: object) -> dict:
    """The CONTROLLER document; `given` are arguments.CONTROLLER.  Never raises for what it meets on the node.

    `port` and `host` say where the controller's HTTP side should be; they follow from `url` where that is given.
    """
    params = arguments.filled(arguments.CONTROLLER, given)
    url, port, host = params["url"], params["port"], params["host"]
    if url:
        url_host, url_port = sockets.split(url, 443 if url.startswith("https:") else 80)
        host, port = host or url_host, port or url_port
    listening = sockets.Listening(proc)
    where = port or commands.CONTROLLER_PORT

    def leads_to(commands_of):
        return identity.answering(host, where, commands_of, proc, params["timeout"])

    process = processes.find(where, host, commands.controller, proc, listening=listening, leads_to=leads_to)
    if process.running is False and host not in LOOPBACK:
        local = processes.find(where, "localhost", commands.controller, proc, listening=listening)
        process = local if local.command else process  # one that only its own host can reach
    options = commands.controller_options(process.command.options) if process.command else None
    url = url or _url(process, options)
    http, registered = _workers(url, params["timeout"])
    return {
        "schema": "kvproof.controller/1",
        "name": params["name"],
        "ssh": "ok",
        "url": url,
        "http": http,
        "workers": registered,
        "process": {
            "running": process.running,
            "pid": process.pid,
            "user": processes.owner(proc, process.pid) if process.pid else None,
            "found_by": process.found_by,
            "unseen": list(process.unseen),
        },
        "options": options,
        "listening": listening.listed(_ports(process, options), process.pid),
    }


def _url(process, options):
    """Where to ask a controller that was found without a URL: the address it binds."""
    if options:
        host, port = options["host"], options["port"]
    elif process.listeners:
        host, port = process.listeners[0].address, process.listeners[0].port
    else:
        return None
    host = "127.0.0.1" if host in WILDCARDS else host
    return "http://{}:{}".format(f"[{host}]" if ":" in host else host, port)


def _workers(url, timeout):
    """(CONTROLLER.http, CONTROLLER.workers)."""
    if not url:
        return {"state": "unset", "status": None, "text": "no URL is known"}, None
    answer, decoded = get_json(url.rstrip("/") + workers.PATH, timeout)
    http = {"state": answer.state, "status": answer.status, "text": answer.text}
    if answer.state != "ok":
        return http, None
    registered = workers.listed(decoded)
    http["text"] = http["text"] or workers.left_out(decoded)
    if registered is None:
        http.update(state="error", text="the answer is not a list of workers")
    return http, registered


def _ports(process, options):
    """Those that the controller should listen on."""
    ports = {listener.port for listener in process.listeners or []}
    if options:
        ports |= {options["port"], *options["monitor_ports"].values()}
    return ports - {None}
