# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""Start, watch and stop a cluster's processes without any system service.

A process is described by a spec, a dict:

    name      what the process is called
    unit      those of one unit are started anew together
    record    where its record goes: {"pid", "start_ticks", "boot_id", "digest", "log"}
    files     {"path", "content", "mode"} written before it starts, again when they were changed; the user's own
    argv, env, cwd, user        env is complete (nothing is inherited); user is None for the caller's own
    log, log_mode               stdout and stderr; started anew with the process
    fresh_dirs                  emptied before every start and given to the user
    ports                       "address:port" that have to be free before it starts
    first       optional; those after it are started once it is ready
    ready_urls                  all answer 200 when it is ready; "tcp://address:port": accepts a connection
    ready_log   optional; a text that its log has when it is ready, or several
    pause       optional; seconds for which it stays away before it is started again: others have to notice
    restarted_log       optional; the same where it alone was started anew, for whoever does that
    others      not read here, and part of what a process was started from
    watch                       more files the process depends on

When one of a unit is not running, or was started from another spec, `up` stops and starts the whole unit. For a
cluster of caches that is on purpose: a controller keeps what a restarted engine registered before, and peers keep
connections to agents that are gone.

A process is only ever signalled when its pid, its start time and the boot id are those of the record; its
session's other members are found by session id.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

STOP_SECONDS = 15.0
FREE_SECONDS = 5.0  # for the ports of what has ended
TICK_SECONDS = 0.02  # two processes that start in one tick of the kernel's clock would be taken for one


class Failure(Exception):
    """Something the caller has to hear about, in one sentence."""


def spec(name: str, argv: list[str], records: Path, logs: Path, **more: Any) -> dict[str, Any]:
    """A process that has what it is given and needs nothing else."""
    return {
        "name": name,
        "unit": "cluster",
        "record": str(records / f"{name}.pid"),
        "argv": argv,
        "env": {},
        "cwd": "/",
        "user": None,
        "log": str(logs / f"{name}.log"),
        "log_mode": "0644",
        "fresh_dirs": [],
        "files": [],
        "ports": [],
        "ready_urls": [],
        "watch": [],
        **more,
    }


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def stat_of(pid: int) -> dict | None:
    """State, parent, session and start time of a process; None when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    if fields[0] in "ZX":
        return None
    return {"pid": pid, "parent": int(fields[1]), "session": int(fields[3]), "start_ticks": int(fields[19])}


def read_record(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def is_running(record: dict | None) -> bool:
    if not record or record["boot_id"] != boot_id():
        return False
    now = stat_of(record["pid"])
    return bool(now) and now["start_ticks"] == record["start_ticks"]


def members(record: dict) -> list[dict]:
    """The recorded process, its session and its descendants (sshd's connections leave the session)."""
    if record["boot_id"] != boot_id():
        return []
    leader = stat_of(record["pid"])
    if leader and leader["start_ticks"] != record["start_ticks"]:
        return []  # the pid has been given to somebody else, so nothing of ours is left in its session
    table = [s for s in (stat_of(int(p.name)) for p in Path("/proc").iterdir() if p.name.isdigit()) if s]
    ours = {s["pid"]: s for s in table if record["pid"] in (s["session"], s["pid"])}
    grew = True
    while grew:
        more = {s["pid"]: s for s in table if s["parent"] in ours and s["pid"] not in ours}
        ours.update(more)
        grew = bool(more)
    return [s for s in ours.values() if s["start_ticks"] >= record["start_ticks"]]


def send(process: dict, number: int) -> None:
    now = stat_of(process["pid"])
    if now and now["start_ticks"] == process["start_ticks"]:
        try:
            os.kill(process["pid"], number)
        except ProcessLookupError:
            pass


def stop(paths: list[Path]) -> list[str]:
    """Stop the processes of these records together; returns the names of those that had to be stopped."""
    records = {path: read_record(path) for path in paths}
    found = {path: members(record) for path, record in records.items() if record}
    for processes in found.values():
        for process in processes:
            # the leader stops its children in order; children of a dead leader hear it themselves
            if process["pid"] == process["session"] or process["parent"] == 1:
                send(process, signal.SIGTERM)
    everyone = [process for processes in found.values() for process in processes]
    deadline = time.monotonic() + STOP_SECONDS
    while any(_still(p) for p in everyone) and time.monotonic() < deadline:
        time.sleep(0.1)
    for process in everyone:
        send(process, signal.SIGKILL)
    while any(_still(p) for p in everyone):
        if time.monotonic() > deadline + 5:
            raise Failure(f"cannot stop: {sorted(p['pid'] for p in everyone if _still(p))} survive SIGKILL")
        time.sleep(0.05)
    for path in paths:
        path.unlink(missing_ok=True)
    return [path.stem for path, processes in found.items() if processes]


def _still(process: dict) -> bool:
    now = stat_of(process["pid"])
    return bool(now) and now["start_ticks"] == process["start_ticks"]


def account_of(spec: dict) -> pwd.struct_passwd:
    return pwd.getpwnam(spec["user"]) if spec["user"] else pwd.getpwuid(os.getuid())


def write_files(spec: dict) -> bool:
    """Whether one of them was missing or had been changed."""
    account, changed = account_of(spec), False
    for file in spec["files"]:
        path, content = Path(file["path"]), file["content"].encode()
        if not path.is_file() or path.read_bytes() != content:
            path.write_bytes(content)
            changed = True
        os.chmod(path, int(file["mode"], 8))
        os.chown(path, account.pw_uid, account.pw_gid)
    return changed


def start(spec: dict) -> None:
    account = account_of(spec)
    switch = {}
    if account.pw_uid != os.getuid():
        switch = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": [account.pw_gid]}
    for directory in map(Path, spec["fresh_dirs"]):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        os.chown(directory, account.pw_uid, account.pw_gid)
    log = Path(spec["log"])
    log.parent.mkdir(exist_ok=True)
    log.unlink(missing_ok=True)  # a process of another run that still holds the old file must not write here
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.fchown(descriptor, account.pw_uid, account.pw_gid)
        os.fchmod(descriptor, int(spec["log_mode"], 8))
        child = subprocess.Popen(
            spec["argv"],
            env=spec["env"],
            cwd=spec["cwd"],
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **switch,
        )
    except OSError as error:
        raise Failure(f"cannot start {spec['name']}: {error}") from error
    finally:
        os.close(descriptor)
    started = stat_of(child.pid)
    record = {
        "pid": child.pid,
        "start_ticks": started["start_ticks"] if started else -1,
        "boot_id": boot_id(),
        "digest": digest(spec),
        "log": spec["log"],
    }
    Path(spec["record"]).write_text(json.dumps(record))


def digest(spec: dict) -> str:
    text = hashlib.sha256(json.dumps(spec, sort_keys=True).encode())
    for path in spec["watch"]:
        text.update(Path(path).read_bytes())
    return text.hexdigest()


def demand_free(spec: dict) -> None:
    """A leader that ended is a zombie at once, and its last threads may hold their sockets a moment longer."""
    deadline = time.monotonic() + FREE_SECONDS
    for port in spec["ports"]:
        while (error := _taken(port)) and time.monotonic() < deadline:
            time.sleep(TICK_SECONDS)
        if error:
            raise Failure(
                f"{spec['name']} cannot listen on {port}: {error.strerror}. "
                "Stop what holds it, or give this lab other addresses or ports"
            ) from error


def _taken(port: str) -> OSError | None:
    """Why an address and port cannot be had, None where they can."""
    address, _, number = port.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, int(number)))
        except OSError as error:
            return error
    return None


def up(specs: list[dict], seconds: float) -> dict:
    """Starts what does not run as its spec says, with its unit.  seconds: for one that has to be ready ``first``.

    differ: the names of those that did not; changed: whether there are any, or a file was written again.
    """
    records = {spec["name"]: read_record(Path(spec["record"])) for spec in specs}
    differ = [s for s in specs if not is_running(records[s["name"]]) or records[s["name"]]["digest"] != digest(s)]
    units = {spec["unit"] for spec in differ}
    anew = [spec for spec in specs if spec["unit"] in units]
    if anew:
        stopped = stop([Path(spec["record"]) for spec in anew])
        time.sleep(max((spec.get("pause", 0) for spec in anew if spec["name"] in stopped), default=0))
    for spec in anew:
        demand_free(spec)
    written = [write_files(spec) for spec in specs]
    for spec in anew:
        start(spec)
        time.sleep(TICK_SECONDS)
        if spec.get("first"):
            wait([spec], seconds)
    return {"changed": bool(differ) or any(written), "differ": [spec["name"] for spec in differ]}


def tail(path: str, lines: int = 25) -> str:
    try:
        text = Path(path).read_text(errors="replace").splitlines()
    except OSError as error:
        return f"({error})"
    return "\n".join(line[:300] for line in text[-lines:])


def answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        if url.startswith("tcp://"):
            address, _, port = url[len("tcp://") :].rpartition(":")
            socket.create_connection((address, int(port)), timeout=2).close()
            return True
        with opener.open(url, timeout=2) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError, ValueError):
        return False


def write_private(path: Path, text: str) -> None:
    """Environments stand in it."""
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def is_ready(spec: dict) -> bool:
    wanted = spec.get("ready_log", "")
    log = Path(spec["log"]).read_text(errors="replace")
    logged = all(text in log for text in ([wanted] if isinstance(wanted, str) else wanted))
    return logged and all(map(answers, spec["ready_urls"]))


def wait(specs: list[dict], seconds: float, *, until_exit: bool = False) -> None:
    """Until they are ready, or have ended.  Raises Failure, with the end of a log, after so many seconds."""
    started = time.monotonic()
    pending = list(specs)
    while pending:
        for spec in list(pending):
            ready = not until_exit and is_ready(spec)
            alive = is_running(read_record(Path(spec["record"])))  # asked last: another's answer is not ours
            if until_exit:
                done = not alive
            elif not alive:
                log = spec["log"]
                raise Failure(f"{spec['name']} ended while it was starting. The end of {log}:\n{tail(log)}")
            else:
                done = ready
            if done:
                pending.remove(spec)
        if pending and time.monotonic() - started > seconds:
            what = "still runs" if until_exit else "is not ready"
            log = pending[0]["log"]
            raise Failure(f"{pending[0]['name']} {what} after {seconds:g} s. The end of {log}:\n{tail(log)}")
        if pending:
            time.sleep(0.1)
