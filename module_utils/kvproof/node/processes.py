# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the process behind a port, and tells what an unprivileged reader could not see.

The ladder: the listening socket's owner (needs the owner's rights), else a command line that has the port
(world-readable, unless /proc is mounted with hidepid), both in the network namespace of the address asked for.
Everything takes the path of the process filesystem, so that tests can lay out their own.
"""

from __future__ import annotations

import os
import pwd
import re
from collections import namedtuple
from collections.abc import Callable
from functools import cached_property

from ..stack.commands import Command
from ..stack.settings import WILDCARDS, environment
from . import sockets

_MAX_BYTES = 1 << 20
_MAX_ANCESTORS = 64

_FORWARDS = ("docker-proxy", "rootlessport", "slirp4netns", "pasta", "conmon", "rootlesskit")

#: A reason in `unseen`; says nothing of the processes that were seen, as they may be other engines'.
NOT_SHOWN = "which process is the engine's (nothing shows that one seen here answers at its port {})"

#: `listeners`: those on the port (and host) asked for; `pid`: None when not found; `unseen`: reasons; `others`: pids of
#: processes of this kind that nothing shows to be the one looked for.
Process = namedtuple("Process", "pid found_by command listeners running unseen others")


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
    *,
    listening: sockets.Listening | None = None,
    leads_to: Callable[[dict[int, Command]], tuple[int, str] | None] = lambda _commands: None,
) -> Process:
    """The process that listens on `port`, or would: a Process.

    `host` is where clients reach it (None: anywhere).  `recognise(words)` returns a Command for the command
    line of a process of the kind looked for, None for others.  `listening`: a sockets.Listening, where the caller
    has one.  Never guesses between several.

    On one machine every container's engine may have the same port.  So a process counts where the address is its own
    network namespace's; where that is none that can be seen, or leads elsewhere, it is one of `Process.others` unless
    `leads_to(their commands)` shows which of them answers there: (its pid, what showed it).
    """
    search = _Search(proc, recognise, listening or sockets.Listening(proc))
    addresses = (sockets.resolve(host) or []) if host else []
    own = sockets.addresses(proc)
    if not addresses or any(sockets.is_ours(address, own) for address in addresses):
        process = search.within(None, port, addresses, own)
        if process.command is not None or process.listeners is None:
            return process
        return search.among(search.elsewhere(None), process, port, leads_to)
    place = search.place(addresses)
    if place is not None:
        return search.within(place, port, addresses, sockets.addresses(os.path.join(proc, str(place))))
    process = search.within(None, port, addresses, own)  # NAT, a proxy, a VIP, or a container that is gone
    near = {process.pid: process.command} if process.pid is not None else {}
    return search.among({**search.commands, **near}, process, port, leads_to)


class _Search:
    """One look for a process; what is read of all processes is read once, and only where it is needed."""

    def __init__(self, proc, recognise, listening):
        self._proc, self._recognise, self._listening = proc, recognise, listening

    @cached_property
    def commands(self):
        """Commands of the recognised processes, by pid; of a parent and its children the parent's."""
        commands = {pid: self._recognise(cmdline(self._proc, pid)) for pid in pids(self._proc)}
        return {pid: commands[pid] for pid in topmost(self._proc, [pid for pid in commands if commands[pid]])}

    def elsewhere(self, place):
        """Those in other network namespaces than process `place` (None: we)."""
        mine = sockets.namespace(self._proc, place)
        return {pid: its for pid, its in self.commands.items() if sockets.namespace(self._proc, pid) != mine}

    def place(self, addresses):
        """A recognised process whose network namespace has one of these addresses; None where none is seen."""
        for pid in self.elsewhere(None):
            if set(addresses) & set(sockets.addresses(os.path.join(self._proc, str(pid)))):
                return pid
        return None

    def within(self, place, port, addresses, own):
        """The process in the network namespace of process `place` (None: ours), whose addresses are `own`."""
        proc, unseen = self._proc, []
        try:
            here = at_host(self._listening.at([port], place), addresses, own)
        except OSError:
            here = None
            unseen.append("listening sockets")
        owners = {}
        for pid in topmost(proc, socket_owners(proc, [item.inode for item in here or []])):
            started = _started_as(proc, pid, self._recognise)
            owners[started] = self._recognise(cmdline(proc, started))
        recognised = [pid for pid, command in owners.items() if command is not None]
        if len(recognised) == 1:
            return Process(recognised[0], "socket", owners[recognised[0]], here, True, unseen, [])
        if here and not owners:
            unseen.append("pid of the socket")
        forwarded = self._forwarded(owners) if place is None and not recognised else None
        if forwarded:
            return forwarded
        # Nobody's, a proxy's or a wrapper's socket: the process may still be told from its command line.
        matching = {} if recognised else self._by_command(place, port, addresses, own)
        if len(matching) == 1:
            ((pid, command),) = matching.items()
            return Process(pid, "cmdline", command, here, True, unseen, [])
        if len(owners) == 1 and not matching and not self._is_forward(next(iter(owners))):
            return Process(next(iter(owners)), "socket", None, here, True, unseen, [])
        several = recognised or list(matching) or (list(owners) if len(owners) > 1 else [])
        if several:
            unseen.append(
                "which of the processes {} is meant by port {}: give the host, too".format(
                    ", ".join(str(pid) for pid in several), port
                )
            )
            return Process(None, None, None, here, True, unseen, [])
        if not sees_all(proc):
            unseen.append("other users' processes")
        absent = here == [] and sees_all(proc)
        return Process(None, None, None, here, False if absent else None, unseen, [])

    def among(self, commands, process, port, leads_to):
        """That one of `commands` which is shown to answer; else `process`, with all of them as `others`."""
        if not commands:
            return process
        shown = leads_to(commands)
        if shown:
            pid, found_by = shown
            listeners = process.listeners
            if sockets.namespace(self._proc, pid) != sockets.namespace(self._proc):
                port = commands[pid].port if commands[pid] and commands[pid].port else port
                listeners = self._listening.at([port], pid)
            return Process(pid, found_by, commands[pid], listeners, True, [], [])
        if process.pid is not None and process.command is None:  # whatever program it is, the socket is its own
            return process
        fitting = sorted(pid for pid, its in commands.items() if its is None or its.port in (port, None))
        if fitting:
            process.unseen.append(NOT_SHOWN.format(port))
        return process._replace(
            pid=None,
            found_by=None,
            command=None,
            running=None if fitting else process.running,
            others=sorted(commands),
        )

    def _is_forward(self, pid):
        return os.path.basename((cmdline(self._proc, pid) or [""])[0]) in _FORWARDS

    def _forwarded(self, owners):
        """The process behind docker-proxy, whose command line says which container's address it forwards to."""
        for pid in filter(self._is_forward, owners):
            words = cmdline(self._proc, pid)
            target = dict(zip(words, words[1:]))
            address, port = target.get("-container-ip"), target.get("-container-port", "")
            place = self.place([address])
            if place is not None and port.isdigit():
                own = sockets.addresses(os.path.join(self._proc, str(place)))
                return self.within(place, int(port), [address], own)
        return None

    def _by_command(self, place, port, addresses, own):
        """Commands, by pid, of the processes of a namespace that would serve `port` at `addresses`."""
        elsewhere = self.elsewhere(place)
        matching = {
            pid: command
            for pid, command in self.commands.items()
            if pid not in elsewhere and _fits(command, port, addresses, own)
        }
        stated = {pid: command for pid, command in matching.items() if command.port == port}
        return stated or {pid: its for pid, its in matching.items() if not self._serves_another_port(pid, port)}

    def _serves_another_port(self, pid, port):
        """Whether a process whose port stands in a file listens, and not on this one; so it is where that is unseen."""
        try:
            held = _links(os.path.join(self._proc, str(pid), "fd"))
            sockets_held = [item for item in self._listening.at(None, pid) if f"socket:[{item.inode}]" in held]
        except OSError:
            return not self._listening.listed([port], pid)
        return bool(sockets_held) and not any(item.port == port for item in sockets_held)


def at_host(listening: list, addresses: list[str], own: list[str]) -> list:
    """The listeners a client of `addresses` meets: those, else wildcards; all where these are not ours (`own`)."""
    exact = [item for item in listening if item.address in addresses]
    if exact or not addresses:
        return exact or listening
    wild = [item for item in listening if item.address in WILDCARDS]
    return wild if wild or any(sockets.is_ours(address, own) for address in addresses) else listening


def _fits(command, port, addresses, own):
    """Whether a command line may be the one that serves `port` at `addresses`."""
    if command.port not in (port, None):
        return False
    if not addresses or command.host in (None, *WILDCARDS):
        return True
    bound = sockets.resolve(command.host) or []
    if set(bound) & set(addresses):
        return True
    return not any(sockets.is_ours(address, own) for address in bound)  # NAT, or a name that only it can resolve


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


def holder(proc: str, pid: int, inodes: list[str]) -> str | None:
    """Who has these listening sockets: "engine" where process `pid` or one that descends from it has one, "nobody"
    without any, "another"; None where no owner could be seen."""
    if not inodes:
        return "nobody"
    owners = socket_owners(proc, inodes)
    return ("engine" if topmost(proc, sorted({pid, *owners})) == [pid] else "another") if owners else None


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
