# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the process behind a port, and tells what an unprivileged reader could not see.

The ladder: the listening socket's owner (needs the owner's rights), else a command line that has the port
(world-readable, unless /proc is mounted with hidepid).  Everything takes the path of the process
filesystem, so that tests can lay out their own.
"""

from __future__ import annotations

import os
import pwd
import re
from collections import namedtuple
from collections.abc import Callable

from ..stack.commands import Command
from ..stack.settings import WILDCARDS, environment
from . import sockets

_MAX_BYTES = 1 << 20
_MAX_ANCESTORS = 64

#: `listeners`: those on the port (and host) asked for; `pid`: None when not found; `unseen`: reasons.
Process = namedtuple("Process", "pid found_by command listeners running unseen")


def _read(*parts, limit=_MAX_BYTES):
    with open(os.path.join(*[str(part) for part in parts]), "rb") as handle:
        return handle.read(limit)


def pids(proc: str) -> list[int]:
    """Numbers of the processes that can be seen."""
    return sorted(int(name) for name in os.listdir(proc) if name.isdigit())


def cmdline(proc: str, pid: int) -> list[str]:
    """A process' command line as words, [] when it cannot be read (or is a kernel thread's)."""
    try:
        raw = _read(proc, pid, "cmdline")
    except OSError:
        return []
    return [word.decode("utf-8", "replace") for word in raw.rstrip(b"\0").split(b"\0")] if raw else []


def environ(proc: str, pid: int) -> dict:
    """A process' environment reduced to listed names; raises OSError when it may not be read."""
    pairs = (item.decode("utf-8", "replace").partition("=") for item in _read(proc, pid, "environ").split(b"\0"))
    return environment({name: value for name, _equals, value in pairs})


def _stat(proc, pid):
    """Fields of /proc/PID/stat behind the command's name: state, parent, ..., start time in ticks."""
    return _read(proc, pid, "stat").decode("ascii", "replace").rpartition(")")[2].split()


def parent(proc: str, pid: int) -> int:
    """The parent's pid, 0 when unknown."""
    try:
        return int(_stat(proc, pid)[1])
    except (OSError, IndexError, ValueError):
        return 0


def started_at(proc: str, pid: int) -> float | None:
    """When a process started, epoch seconds; None when it cannot be told.  Source: proc(5), stat field 22."""
    try:
        ticks = int(_stat(proc, pid)[19])
        boot = re.search(rb"^btime (\d+)", _read(proc, "stat"), re.MULTILINE)
        return round(int(boot.group(1)) + ticks / float(os.sysconf("SC_CLK_TCK")), 2) if boot else None
    except (OSError, IndexError, ValueError):
        return None


def owner(proc: str, pid: int) -> str | None:
    """A process' user: its name, else its number; None when the process is gone."""
    try:
        uid = os.stat(os.path.join(proc, str(pid))).st_uid
    except OSError:
        return None
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def sees_all(proc: str) -> bool:
    """Whether other users' processes are visible: hidepid hides process 1, or its command line."""
    return bool(cmdline(proc, 1))


def socket_owners(proc: str, inodes: list[str]) -> list[int]:
    """pids that hold the sockets, as far as their file descriptors can be read: one for each socket at least.

    The search ends when each has an owner; a child that shares a socket leads to its parent anyway.
    """
    links = {f"socket:[{inode}]" for inode in inodes}
    owners = []
    for pid in pids(proc) if links else []:
        try:
            held = links & _links(os.path.join(proc, str(pid), "fd"))
        except OSError:
            continue
        if held:
            owners.append(pid)
            links -= held
        if not links:
            break
    return owners


def _links(path):
    """Where the links of a folder point; raises OSError where it cannot be read."""
    targets, folder = set(), os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in os.listdir(folder):
            try:
                targets.add(os.readlink(name, dir_fd=folder))
            except OSError:  # closed since, or no link
                continue
    finally:
        os.close(folder)
    return targets


def _link(*parts):
    """Where a link points; None when it cannot be read or is none."""
    try:
        return os.readlink(os.path.join(*[str(part) for part in parts]))
    except OSError:
        return None


def topmost(proc: str, candidates: list[int]) -> list[int]:
    """Those of `candidates` that do not descend from another one: children inherit sockets and words."""
    kept = []
    for pid in candidates:
        above = parent(proc, pid)
        for _step in range(_MAX_ANCESTORS):
            if above in candidates or above <= 1:
                break
            above = parent(proc, above)
        if above not in candidates:
            kept.append(pid)
    return kept


def find(
    port: int,
    host: str | None,
    recognise: Callable[[list[str]], Command | None],
    proc: str = "/proc",
    listening: sockets.Listening | None = None,
) -> Process:
    """The process that listens on `port`, or would: a Process.

    `host` is where clients reach it (None: anywhere).  `recognise(words)` returns a Command for the command
    line of a process of the kind looked for, None for others.  `listening`: a sockets.Listening, where the caller
    has one.  Never guesses between several.
    """
    unseen, listening = [], listening or sockets.Listening(proc)
    try:
        here = _at_host(listening.at([port]), host, proc)
    except OSError:
        here = None
        unseen.append("listening sockets")
    owners = {}
    for pid in topmost(proc, socket_owners(proc, [item.inode for item in here or []])):
        started = _started_as(proc, pid, recognise)
        owners[started] = recognise(cmdline(proc, started))
    recognised = [pid for pid, command in owners.items() if command is not None]
    if len(recognised) == 1:
        return Process(recognised[0], "socket", owners[recognised[0]], here, True, unseen)
    if here and not owners:
        unseen.append("pid of the socket")
    # Nobody's, a proxy's or a wrapper's socket: the process may still be told from its command line.
    matching = {} if recognised else _by_cmdline(proc, port, host, recognise, listening)
    if len(matching) == 1:
        ((pid, command),) = matching.items()
        return Process(pid, "cmdline", command, here, True, unseen)
    if len(owners) == 1 and not matching:
        return Process(next(iter(owners)), "socket", None, here, True, unseen)
    several = recognised or list(matching) or list(owners)
    if several:
        unseen.append(
            "which of the processes {} is meant by port {}: give the host, too".format(
                ", ".join(str(pid) for pid in several), port
            )
        )
        return Process(None, None, None, here, True, unseen)
    if not sees_all(proc):
        unseen.append("other users' processes")
    absent = here == [] and sees_all(proc)
    return Process(None, None, None, here, False if absent else None, unseen)


def _at_host(listening, host, proc):
    """The listeners a client of `host` meets: its own address, else wildcards; all if `host` is not ours."""
    if host is None:
        return listening
    host_addresses = sockets.resolve(host) or []
    exact = [item for item in listening if item.address in host_addresses]
    if exact:
        return exact
    wild = [item for item in listening if item.address in WILDCARDS]
    own = sockets.addresses(proc)
    return wild if wild or any(sockets.is_ours(address, own) for address in host_addresses) else listening


def _fits(command, port, host):
    """Whether a command line may be the one that serves `port` at `host`."""
    if command.port not in (port, None):
        return False
    if host is None or command.host in (None, *WILDCARDS):
        return True
    bound, host_addresses = sockets.resolve(command.host) or [], sockets.resolve(host) or []
    if set(bound) & set(host_addresses):
        return True
    return not any(address.startswith("127.") for address in [*bound, *host_addresses])  # NAT, a proxy, a VIP


def _by_cmdline(proc, port, host, recognise, listening):
    """Commands, by pid, of the processes that would serve `port` at `host` by their command line."""
    commands = {pid: recognise(cmdline(proc, pid)) for pid in pids(proc)}
    matching = topmost(
        proc, [pid for pid, command in commands.items() if command is not None and _fits(command, port, host)]
    )
    if len(matching) > 1:
        matching = [pid for pid in matching if _listens_in_its_namespace(listening, pid, port)] or matching
    return {pid: commands[pid] for pid in matching}


def _started_as(proc, pid, recognise):
    """`pid`, or the nearest ancestor with a recognised command line.

    vLLM's API server children write a title over their command line and environment.
    """
    above = pid
    for _step in range(_MAX_ANCESTORS):
        if above <= 1:
            break
        if recognise(cmdline(proc, above)) is not None:
            return above
        above = parent(proc, above)
    return pid


def _listens_in_its_namespace(listening, pid, port):
    try:
        return bool(listening.at([port], pid))
    except OSError:
        return False


def namespace(proc: str, pid: int) -> tuple[bool, bool]:
    """(whether the process lives in another mount or pid namespace, whether its mounts could be compared)."""
    mine, its = _link(proc, "self", "ns", "mnt"), _link(proc, pid, "ns", "mnt")
    if mine and its:
        return mine != its, True
    return _nested(proc, pid) != _nested(proc, "self"), False


def _nested(proc, pid):
    """How many pid namespaces a process is in, as we see it (NSpid of /proc/PID/status, world-readable)."""
    try:
        match = re.search(rb"^NSpid:\s*(.*)$", _read(proc, pid, "status"), re.MULTILINE)
    except OSError:
        return None
    return len(match.group(1).split()) if match else 1


def resolve_path(proc: str, pid: int, path: str, other_namespace: bool) -> str:
    """Where a path of the process is found by us: below its root, and relative to its working directory."""
    if not os.path.isabs(path):
        path = os.path.join(_link(proc, pid, "cwd") or "/", path)
    return os.path.join(proc, str(pid), "root", path.lstrip("/")) if other_namespace else path


def output_target(proc: str, pid: int) -> tuple[str, str, str | None] | None:
    """What the process writes its log to: ("file", path, where to open it), ("unit", name, None) or None.

    LMCache and vLLM log to standard error, so that is looked at first.  Raises PermissionError when the
    descriptors may not be read.
    """
    for descriptor in ("2", "1"):
        link = os.path.join(proc, str(pid), "fd", descriptor)
        try:
            target = os.readlink(link)
        except FileNotFoundError:
            continue
        if target.startswith("/") and not target.startswith("/dev/"):
            return "file", target.replace(" (deleted)", ""), link
        if target.startswith("socket:"):
            unit = _unit(proc, pid)
            if unit:
                return "unit", unit, None
    return None


def _unit(proc, pid):
    """The systemd service of a process, from its control group."""
    try:
        names = re.findall(rb"/([\w@.\\-]+\.service)", _read(proc, pid, "cgroup"))
    except OSError:
        return None
    return names[-1].decode() if names else None
