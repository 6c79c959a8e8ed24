# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything one engine's node shows, in one pass: `kvproof.node/1` (docs/evidence.md).

Reads only.  What cannot be seen is None, with the reason in `engine.unseen` or in a `detail`.
Standard library only, Python 3.8 and later.
"""

from __future__ import annotations

import os
import pwd
import socket
import time

from ..stack import commands, settings
from . import config as nodeconfig
from . import log as logs
from . import processes as procs
from . import sockets

#: What to look at; `peers` are `{to: host:port, why: peer-init | peer-lookup}`.
DEFAULTS = {
    "port": commands.ENGINE_PORT,
    "host": None,
    "log": None,
    "config_file": None,
    "internal_api_url": None,
    "ids": (),
    "run_marker": None,
    "since": None,
    "peers": (),
    "controller_url": None,
    "api_timeout": nodeconfig.API_TIMEOUT,
    "dial_timeout": sockets.DIAL_TIMEOUT,
    "log_timeout": 10.0,
    "log_budget": 64 << 20,
    "log_head": 2 << 20,
    "max_events": 5000,
}


def gather(proc="/proc", **wanted):
    """The NODE document; `wanted` overrides DEFAULTS.  Never raises for what it finds on the node."""
    began = time.monotonic()
    ask = dict(DEFAULTS, **wanted)
    listening = sockets.Listening(proc)
    found = _find(ask["port"], ask["host"], proc, listening)
    engine = _engine(found, ask["port"], proc, listening)
    log = _log(engine, ask, proc)
    logged = log["head"] + log["events"]

    config_file = _config_file(engine, ask["config_file"], logged, proc)
    logged_config = nodeconfig.last(logged, "config")
    known = config_file["values"] if logged_config is None else logged_config["values"]
    own_config = logged_config and logged_config["values"]
    api = nodeconfig.ask_api(ask["internal_api_url"], known, ask["api_timeout"], own_config)
    effective = _effective(api, logged_config)
    config = _in_effect(effective, config_file, engine)

    own = sockets.addresses(os.path.join(proc, str(engine["pid"])) if engine["pid"] else proc)
    worker = nodeconfig.last(logged, "initialized", role="worker") or {}
    any_role = nodeconfig.last(logged, "initialized") or {}
    created = [event["name"] for event in logged if event["kind"] == "backend_created"]
    return {
        "schema": "kvproof.node/1",
        "ssh": "ok",
        "ssh_reason": None,
        "hostname": socket.gethostname(),
        "time": time.time(),
        "user": _user(),
        "uid": os.geteuid(),
        "addresses": own,
        "engine": engine,
        "config_file": config_file,
        "effective": effective,
        "meta": api["meta"] or worker.get("meta"),
        "backends": api["backends"] or sorted(set(created)) or None,
        "internal_api": api["internal_api"],
        "versions": {"lmcache": api["lmcache"] or any_role.get("lmcache"), "vllm": any_role.get("vllm")},
        "p2p_host": _p2p_host(config.get("p2p_host"), own),
        "listening": _listening(engine["pid"], [ask["port"], *nodeconfig.p2p_ports(config)], listening),
        "dials": sockets.dial_all(_targets(config, ask, log["events"]), ask["dial_timeout"]),
        "log": log,
        "bytes_read": log["bytes_read"] + config_file.pop("size"),
        "duration_s": round(time.monotonic() - began, 3),
    }


def _find(port, host, proc, listening):
    """The engine's process.  Where several could be meant, the address SSH was called under decides."""
    found = procs.find(port, host, commands.engine, proc, listening)
    called = os.environ.get("SSH_CONNECTION", "").split()
    if found.pid is None and found.running and host is None and len(called) == 4:
        return procs.find(port, called[2], commands.engine, proc, listening)
    return found


def _user():
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _engine(found, port, proc, listening):
    """NODE.engine of a procs.Found."""
    engine = {
        "port": port,
        "running": found.running,
        "pid": found.pid,
        "user": None,
        "started_at": None,
        "found_by": found.found_by,
        "listening": None if found.listeners is None else bool(found.listeners),
        "options": {},
        "env": None,
        "other_namespace": False,
        "unseen": list(found.unseen),
    }
    pid = found.pid
    if pid is None:
        return engine
    engine["user"], engine["started_at"] = procs.owner(proc, pid), procs.started_at(proc, pid)
    engine["options"] = (
        found.command.options if found.command else commands.listed(procs.cmdline(proc, pid), commands.VLLM_OPTIONS)
    )
    try:
        engine["env"] = procs.environ(proc, pid)
    except OSError:
        engine["unseen"].append("environ")
    engine["other_namespace"], compared = procs.namespace(proc, pid)
    if not compared:
        engine["unseen"].append("mount namespace")
    if not engine["listening"] and engine["other_namespace"]:
        engine["listening"] = bool(_listening(pid, [port], listening))
    return engine


def _log(engine, ask, proc):
    """NODE.log: from the source given, else from where the engine writes to."""
    want = logs.Want(
        ask["ids"],
        ask["run_marker"],
        ask["since"],
        started_at=engine["started_at"],
        head_bytes=ask["log_head"],
        budget=ask["log_budget"],
        max_events=ask["max_events"],
        timeout=ask["log_timeout"],
    )
    pid = engine["pid"]
    if ask["log"]:
        path = ask["log"].get("file")
        if path and pid and engine["other_namespace"] and not os.path.exists(path):
            return logs.read(ask["log"], want, path=procs.resolve_path(proc, pid, path, True))
        return logs.read(ask["log"], want)
    detail = "the engine's process was not found, so neither was its log; give it in kv_reuse_log"
    target = None
    if pid is not None:
        try:
            target = procs.output_target(proc, pid)
            detail = "the engine writes to neither a file nor a unit's journal; give its log in kv_reuse_log"
        except OSError:
            engine["unseen"].append("where the engine writes its log")
            detail = "where the engine writes its log may not be seen by this user; give it in kv_reuse_log"
    if target is None:
        return logs.document(None, detail=detail, ids=want.ids)
    kind, name, link = target
    path = procs.resolve_path(proc, pid, name, engine["other_namespace"]) if kind == "file" else None
    if path and not os.path.exists(path):
        path = link  # deleted or out of reach, but still open
    return logs.read({kind: name}, want, found_by="stdout", path=path)


def _config_file(engine, given, logged, proc):
    path, found_by = nodeconfig.config_path(given, engine["env"], logged)
    opened = path
    if path and engine["pid"] and not (found_by == "variable" and os.path.exists(path)):
        opened = procs.resolve_path(proc, engine["pid"], path, engine["other_namespace"])
    return nodeconfig.read_file(path, found_by, opened)


def _effective(api, logged_config):
    if api["conf"] is not None:
        return {"source": "internal_api", "values": api["conf"]}
    if logged_config is not None:
        return {"source": "log", "values": logged_config["values"]}
    return {"source": None, "values": {}}


def _in_effect(effective, config_file, engine):
    """The best guess at the configuration, for what to dial: effective, else file and environment over it."""
    if effective["source"]:
        return effective["values"]
    return dict(config_file["values"], **settings.from_environment(engine["env"]))


def _p2p_host(value, own):
    """Whether the address this engine binds and advertises is one of its own."""
    if not isinstance(value, str) or not value:
        return {"value": None, "resolved": [], "ours": None}
    resolved = sockets.resolve(value)
    ours = None
    if resolved and own:
        ours = any(sockets.is_ours(address, own) for address in resolved)
    return {"value": value, "resolved": resolved or [], "ours": ours}


def _listening(pid, ports, listening):
    try:
        return sockets.listed(listening.at(ports, pid))
    except OSError:
        return []


def _targets(config, ask, events):
    """`(host:port, why)` of everything whose reachability this node's part in P2P depends on."""
    targets = [(peer["to"], peer["why"]) for peer in ask["peers"]]
    for event in events:  # whom the controller named, and whom the engine met
        targets.append((event.get("peer") if event["kind"] == "layout" else None, "peer-from-log"))
        targets.append((event["lookup"] if event["kind"] == "peer_connected" else None, "peer-from-log"))
    targets.append((config.get("controller_pull_url"), "controller-pull"))
    targets.append((config.get("controller_reply_url"), "controller-reply"))
    targets.append((ask["controller_url"], "controller-http"))
    return [(str(to).split("://", 1)[-1].rstrip("/"), why) for to, why in targets if to]
