# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node shows of LMCache's multiprocess mode: SERVER, the cache server beside an engine, and COORDINATOR
(docs/evidence.md).

Reads only: the process, its log, and GETs that change nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from ..stack import commands, mp
from ..stack.settings import LOOPBACK, WILDCARDS
from . import arguments, processes, sockets
from . import log as logs
from .http import get_json

_UNSEEN = processes.Process(None, None, None, None, None, ["process"], [])


def cache_server(proc: str = "/proc", **given: object) -> dict:
    """The SERVER document of a host of its own; `given` are arguments.CACHE_SERVER.  Never raises for what it meets."""
    params = arguments.filled(arguments.CACHE_SERVER, given)
    listening = sockets.Listening(proc)
    process = _by_command_line(proc) or _UNSEEN
    want = logs.Want(params["ids"], params["run_marker"], params["since"])
    return server_document(
        process,
        proc,
        listening,
        name=params["name"],
        url=params["url"],
        timeout=params["timeout"],
        read_log=lambda pid: log_of(proc, pid, params["log"], want, "kv_reuse_mp_log") if want.needles else None,
    )


def beside(engine: dict, options: dict, proc: str, listening: sockets.Listening, want: logs.Want) -> dict | None:
    """SERVER of the engine that NODE.engine is of; None where it uses none and none runs here.

    options: arguments.NODE.  The server is found by the address that the engine's connector has, else by its command
    line: one that runs beside an engine of another connector is seen, too.
    """
    transfer = _connector(engine["options"].get("kv-transfer-config"))
    if transfer is None:
        process, wanted = _by_command_line(proc, engine["options"].get("host"), engine["pid"]), None
        if process is None and not options["mp_url"]:
            return None
    else:
        extra = transfer.get("kv_connector_extra_config") or {}
        host = str(extra.get("lmcache.mp.host") or "localhost").rsplit("://", 1)[-1]
        port = _port(extra.get("lmcache.mp.port"), mp.SERVER_PORT)
        process = processes.find(port, host, commands.cache_server, proc, listening=listening)
        if process.running is False and engine["other_namespace"]:  # its loopback addresses are another's
            process = process._replace(running=None, unseen=[*process.unseen, "the engine's network"])
        wanted = {"host": host, "port": port, "ours": _ours(host, proc, engine["pid"])}
    return server_document(
        process or _UNSEEN,
        proc,
        listening,
        url=options["mp_url"],
        timeout=options["api_timeout"],
        wanted=wanted,
        read_log=lambda pid: log_of(proc, pid, options["mp_log"], want, "kv_reuse_mp_log") if want.needles else None,
    )


def server_document(
    process: processes.Process,
    proc: str,
    listening: sockets.Listening,
    *,
    url: str | None,
    timeout: float,
    read_log: Callable[[int | None], dict | None],
    name: str | None = None,
    wanted: dict | None = None,
) -> dict:
    """SERVER of a process, and of what answers at `url`, else where the process' command line says."""
    options = process.command.options if process.command else None
    url = url or (_url(options.get("http-host"), options.get("http-port")) if options is not None else None)
    healthy, http = _health(url, mp.HEALTH, timeout)
    facts = mp.server_facts(lambda path: get_json(str(url) + path, timeout)[1]) if http["state"] == "ok" else None
    advertised = (facts or {}).get("p2p_advertise_url") or (options or {}).get("p2p-advertise-url")
    host = sockets.split(advertised)[0] if advertised else None
    return {
        "schema": "kvproof.cache_server/1",
        "name": name,
        "ssh": "ok",
        "url": url,
        "http": http,
        "healthy": healthy,
        "facts": facts,
        "process": _process(process, proc),
        "options": options,
        "wanted": wanted,
        "advertised": {"value": advertised, "host": host, "ours": _ours(host, proc, process.pid) if host else None},
        "log": read_log(process.pid),
    }


def coordinator(proc: str = "/proc", **given: object) -> dict:
    """The COORDINATOR document; `given` are arguments.COORDINATOR.  Never raises for what it meets on the node."""
    params = arguments.filled(arguments.COORDINATOR, given)
    listening = sockets.Listening(proc)
    host, port = sockets.split(params["url"], mp.COORDINATOR_PORT) if params["url"] else (None, None)
    process = processes.find(port or mp.COORDINATOR_PORT, host, commands.coordinator, proc, listening=listening)
    options = process.command.options if process.command else None
    url = params["url"] or (_url(options.get("host"), process.command.port) if options is not None else None)
    healthy, http = _health(url, mp.COORDINATOR_HEALTH, params["timeout"])
    answers = {}
    if http["state"] == "ok":
        answers = {path: get_json(str(url) + path, params["timeout"])[1] for path in (mp.INSTANCES, mp.DIRECTORY)}
    return {
        "schema": "kvproof.coordinator/1",
        "name": params["name"],
        "ssh": "ok",
        "url": url,
        "http": http,
        "healthy": healthy,
        "instances": mp.instances(answers.get(mp.INSTANCES)),
        "keys": mp.keys_of(answers.get(mp.DIRECTORY)),
        "process": _process(process, proc),
        "options": options,
    }


def log_of(proc: str, pid: int | None, given: dict | None, want: logs.Want, variable: str) -> dict:
    """LOG of a process: from the source given, else from where the process writes; `variable` is what gives one."""
    if given:
        return logs.read(given, want)
    detail = f"the process was not found, so neither was its log; give it in {variable}"
    if pid is not None:
        try:
            target = processes.output_target(proc, pid)
        except OSError:
            target, detail = None, f"where it writes its log may not be seen by this user; give it in {variable}"
        else:
            detail = f"it writes to neither a file nor a unit's journal; give its log in {variable}"
        if target:
            kind, name, link = target
            other, _compared = processes.namespace(proc, pid)
            path = processes.resolve_path(proc, pid, name, other) if kind == "file" else None
            return logs.read({kind: name}, want, found_by="stdout", path=path or link)
    return logs.document(None, detail=detail, ids=want.ids)


def _health(url, path, timeout):
    """(whether it says that it is healthy, HTTP); None where nobody answered."""
    if not url:
        return None, {"state": "unset", "status": None, "text": "no URL is known"}
    answer, _decoded = get_json(url + path, timeout)
    http = {"state": answer.state, "status": answer.status, "text": answer.text}
    return (answer.status == 200 if answer.status is not None else None), http


def _process(process, proc):
    return {
        "running": process.running,
        "pid": process.pid,
        "user": processes.owner(proc, process.pid) if process.pid else None,
        "found_by": process.found_by,
        "unseen": list(process.unseen),
    }


def _by_command_line(proc, host=None, engine_pid=None):
    """The Process of the only cache server of this host, or of an engine's network namespace, else of the only one at
    an engine's address; None where there is none or are several."""
    servers = {pid: commands.cache_server(processes.cmdline(proc, pid)) for pid in processes.pids(proc)}
    pids = processes.topmost(proc, [pid for pid, command in servers.items() if command is not None])
    if engine_pid is not None:
        mine = sockets.namespace(proc, engine_pid)
        pids = [pid for pid in pids if sockets.namespace(proc, pid) == mine]
    if len(pids) > 1 and host:
        pids = [pid for pid in pids if host in (servers[pid].options.get(name) for name in ("host", "http-host"))]
    return processes.Process(pids[0], "cmdline", servers[pids[0]], None, True, [], []) if len(pids) == 1 else None


def _connector(transfer):
    """The part of --kv-transfer-config that is the multiprocess connector's."""
    parts = [transfer, *((transfer or {}).get("connectors") or [])]
    mine = [part for part in parts if part and str(part.get("kv_connector")).startswith("LMCacheMP")]
    return mine[0] if mine else None


def _ours(host, proc, pid):
    """Whether a host name is this host; None where that cannot be told."""
    if host in WILDCARDS or host in LOOPBACK:
        return True
    own = sockets.addresses(f"{proc}/{pid}" if pid else proc)
    resolved = sockets.resolve(host)
    return any(sockets.is_ours(address, own) for address in resolved) if resolved and own else None


def _url(host, port):
    host = host if isinstance(host, str) else mp.SERVER_HTTP_HOST
    host = "127.0.0.1" if host in WILDCARDS else host
    return "http://{}:{}".format(f"[{host}]" if ":" in host else host, _port(port, mp.SERVER_HTTP_PORT))


def _port(value, default):
    try:
        return int(value)
    except (TypeError, ValueError):
        return default
