# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""Addresses and ports for clusters side by side, in this run and in others on the machine."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Slot:
    """Loopback addresses and ports that one cluster at a time has for itself.

    LMCache's workers listen on every address and its internal API on 127.0.0.1, so ports have to differ, too.
    """

    net: str
    first_port: int


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
            self._free = [Slot(f"127.{2 + run}.{number}", 20_000 + (run * self.OF_A_RUN + number) * self.PORTS)
                          for number in range(self.OF_A_RUN)]  # fmt: skip
            self._lock = threading.Lock()
            return
        raise OSError(f"{self.RUNS} other runs have all the addresses")

    @contextlib.contextmanager
    def one(self) -> Iterator[Slot]:
        """At most OF_A_RUN at a time."""
        with self._lock:
            slot = self._free.pop(0)
        try:
            yield slot
        finally:
            with self._lock:
                self._free.append(slot)
