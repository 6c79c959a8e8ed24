# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""Addresses and ports for clusters side by side, in this run and in others on the machine."""

from __future__ import annotations

import contextlib
import shutil
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .lab import Controller, Lab, Node

START_S = 120.0  # many at once on few cores start slowly


@dataclass(frozen=True)
class Slot:
    """Loopback addresses and ports that one cluster at a time has for itself.

    LMCache's workers listen on every address and its internal API on 127.0.0.1, so ports have to differ, too: of 20
    from ``first_port`` on, ranks take every tenth (healthy.PORTS_BETWEEN_RANKS), and the internal API those between.
    """

    net: str
    first_port: int

    def lab(self, folder: Path, architecture: str = "inprocess_p2p") -> Lab:
        """A rehearsal cluster of two nodes and a controller in a new folder, without SSH servers."""
        shutil.rmtree(folder, ignore_errors=True)
        nodes = [
            Node(f"{role}-1", role, f"{self.net}.{last}", 8000, self.first_port + number, self.first_port + api)
            for number, (role, last, api) in enumerate((("prefill", 13, 2), ("decode", 97, 6)))
        ]
        controller = Controller("controller-1", f"{self.net}.5", 9300 if architecture == "mp" else 9000)
        lab = Lab(folder, nodes, controller, folder / "sockets", architecture, start_timeout=START_S)
        for name in (lab.model.name, f"{lab.model.name}-copy"):
            (folder / name).mkdir(parents=True)
        return lab


class Slots:
    """Slots of this run; other runs on this machine take others, as long as this object lives."""

    RUNS, OF_A_RUN, PORTS = 10, 40, 20

    def __init__(self) -> None:
        for run in range(self.RUNS):
            claim = socket.socket()
            try:
                claim.bind((f"127.{2 + run}.255.254", 9))
            except OSError:
                claim.close()
                continue
            self._claim = claim
            first = 20_000 + run * self.OF_A_RUN * self.PORTS
            self._free = [
                Slot(f"127.{2 + run}.{number}", first + number * self.PORTS) for number in range(self.OF_A_RUN)
            ]
            self._lock = threading.Lock()
            return
        raise OSError(f"{self.RUNS} other runs have all the addresses")

    @contextlib.contextmanager
    def take(self) -> Iterator[Slot]:
        """A slot for as long as it is needed; at most OF_A_RUN at a time."""
        with self._lock:
            slot = self._free.pop(0)
        try:
            yield slot
        finally:
            with self._lock:
                self._free.append(slot)
