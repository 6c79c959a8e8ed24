# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""CPU time and memory of a command with everything it starts on this machine, from /proc.  Linux alone."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
SAMPLE_S = 2.0


@dataclass
class Spent:
    """wall_s; cpu_s of the command, its descendants and the connections they left; peak_mb of their memory together,
    shared pages counted once (PSS, looked at every SAMPLE_S)."""

    exit_code: int
    wall_s: float
    cpu_s: float
    peak_mb: float


def run(command: list[str], control_paths: Path, **how: object) -> Spent:
    """Runs a command.  control_paths: the folder of its SSH control sockets; those connections outlive their parents,
    so they are counted, and ended, by the name of their socket."""
    before = os.times()
    began = time.perf_counter()
    process = subprocess.Popen(command, **how)
    peaks: list[float] = [0.0]
    masters: dict[int, float] = {}  # pid → CPU seconds when it was last seen
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(process.pid, control_paths, peaks, masters, done))
    watcher.start()
    try:
        code = process.wait()
        wall = time.perf_counter() - began
    finally:
        process.terminate()
        done.set()
        watcher.join()
    after = os.times()
    reaped = after.children_user + after.children_system - before.children_user - before.children_system
    for pid in _masters(control_paths):
        masters[pid] = _cpu_s(pid)
        os.kill(pid, signal.SIGTERM)
    return Spent(code, wall, reaped + sum(masters.values()), max(peaks))


def _watch(pid: int, control_paths: Path, peaks: list[float], masters: dict[int, float], done: threading.Event) -> None:
    while not done.wait(SAMPLE_S):
        masters.update({process: _cpu_s(process) for process in _masters(control_paths)})
        peaks.append(sum(_pss_mb(process) for process in {*_tree(pid), *masters}))


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _tree(top: int) -> Iterable[int]:
    parents = {pid: int(fields[1]) for pid in _pids() if (fields := _stat(pid))}
    members = {top}
    grew = True
    while grew:
        more = {pid for pid, parent in parents.items() if parent in members} - members
        members |= more
        grew = bool(more)
    return members


def _masters(control_paths: Path) -> Iterator[int]:
    """SSH connections kept open under sockets of this folder."""
    wanted = f"ssh: {control_paths}/".encode()
    for pid in _pids():
        try:
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(wanted):
                yield pid
        except OSError:
            continue


def _cpu_s(pid: int) -> float:
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICKS if fields else 0.0


def _pss_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)
