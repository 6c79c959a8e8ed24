# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""What the controller knows: instances, their workers, and the chunk hashes each one announced."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Worker:
    worker_id: int
    ip: str
    port: int
    peer_init_url: str | None
    registered: float
    heartbeat: float
    keys: dict[str, set[int]] = field(default_factory=dict)  # location → hashes

    def key_count(self) -> int:
        return sum(map(len, self.keys.values()))


class Registry:
    """Instances keep the order in which they registered; the first that has a chunk is credited with it."""

    def __init__(self) -> None:
        self.instances: dict[str, dict[int, Worker]] = {}

    def worker(self, instance: str, worker: int) -> Worker | None:
        return self.instances.get(instance, {}).get(worker)

    def register(self, message: dict[str, Any]) -> bool:
        """False for a worker that is known: it keeps its old addresses and loses its keys."""
        known = self.worker(message["instance_id"], message["worker_id"])
        if known:
            known.keys.clear()
            return False
        now = time.time()
        self.instances.setdefault(message["instance_id"], {})[message["worker_id"]] = Worker(
            message["worker_id"], message["ip"], message["port"], message["peer_init_url"], now, now
        )
        return True

    def deregister(self, instance: str, worker: int) -> bool:
        workers = self.instances.get(instance, {})
        gone = workers.pop(worker, None)
        if not workers:
            self.instances.pop(instance, None)
        return gone is not None

    def apply(self, message: dict[str, Any]) -> bool:
        """Admits and evicts; False when the worker is not registered."""
        worker = self.worker(message["instance_id"], message["worker_id"])
        if worker is None:
            return False
        keys = worker.keys.setdefault(message["location"], set())
        for operation, number in message["operations"]:
            (keys.add if operation == "admit" else keys.discard)(number)
        return True

    def _holders(self, number: int, without: str | None) -> Iterator[tuple[str, str, Worker]]:
        for instance, workers in self.instances.items():
            if instance == without:
                continue
            for worker in workers.values():
                for location, keys in worker.keys.items():
                    if number in keys:
                        yield instance, location, worker

    def find(self, hashes: list[int], without: str) -> tuple[str, str, int, str]:
        """(instance, location, chunks, peer_init_url) of the first holder of the first hash; the worker's rank
        plays no part, and another holder that has more is not looked for."""
        found = next(self._holders(hashes[0], without), None) if hashes else None
        if found is None or found[2].peer_init_url is None:
            return "", "", 0, ""
        instance, location, worker = found
        keys, chunks = worker.keys[location], 0
        for number in hashes:
            if number not in keys:
                break
            chunks += 1
        return instance, location, chunks, worker.peer_init_url

    def layout(self, chunks: list[tuple[int, int]]) -> dict[str, tuple[str, int]]:
        """instance → (location, tokens) of a prompt's chunks (end, hash), as POST /lookup answers."""
        found: dict[str, tuple[str, int]] = {}
        for end, number in chunks:
            holder = next(self._holders(number, None), None)
            if holder is None:
                break
            found[holder[0]] = (holder[1], end)
        return found

    def infos(self, instance: str | None = None, *, keys: bool = True) -> list[dict[str, Any]]:
        """Workers as the controller's HTTP answers show them."""
        found = []
        for name, workers in self.instances.items():
            for worker in workers.values() if instance in (None, name) else ():
                info = {"instance_id": name, "worker_id": worker.worker_id, "ip": worker.ip, "port": worker.port,
                        "peer_init_url": worker.peer_init_url, "registration_time": worker.registered,
                        "last_heartbeat_time": worker.heartbeat}  # fmt: skip
                found.append({**info, "key_count": worker.key_count()} if keys else info)
        return found
