# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a seed's KV has been stored where a peer can find it: the document VISIBLE.

Witnesses, best first: the controller's key_count of the holder, the holder's log line for this very request,
the holder's hot-cache gauge.  Whichever says so first ends the wait.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from ..stack import lines
from ..transport.http import HttpClient, RequestFailed
from .controller import instance_of, read_workers
from .engine import Engine

POLL_S = 0.02
POLL_METRICS_S = 0.1  # a metrics page costs the engine more than a controller's answer
MAX_LOG_BYTES = 8 * 1024 * 1024  # written while one seed runs
GAUGE = "lmcache:local_cpu_hot_cache_count"


class StoreWatch:
    """Waits for seeds of one holder to become visible.

    ``before()`` is called ahead of a seed, ``wait()`` after it.  ``sees`` is False when there is no witness
    at all: then every wait lasts its full time.
    """

    def __init__(
        self,
        holder: Engine,
        receiver: Engine,
        chunk_size: int,
        *,
        controller: HttpClient | None,
        workers: list[dict[str, Any]] | None,
    ):
        self._chunk_size = chunk_size
        self._holder, self._receiver = holder, receiver
        self._controller = controller if workers is not None else None
        self._mine: str | None = None
        self._other: str | None = None
        self._learn_names(workers or [])
        self._log = holder.settings.log_file if _readable(holder.settings.log_file) else None
        self._gauge = False

    @property
    def sees(self) -> bool:
        return bool(self._controller or self._log or self._gauge)

    def learn_gauge(self) -> None:
        """Uses the hot-cache gauge where the holder's metrics have it (not in multiprocess mode)."""
        page = self._holder.document["metrics"]["before"] or {}
        self._gauge = GAUGE in page.get("values", {})

    def before(self) -> dict[str, Any]:
        """What the witnesses say before the seed is sent."""
        return {
            "keys": self._keys(),
            "log": os.path.getsize(self._log) if self._log else 0,
            "gauge": self._gauge_value(),
        }

    def wait(self, mark: dict[str, Any], request_id: str, chunks: int, *, limit: float, since: float) -> dict[str, Any]:
        """VISIBLE: polls until so many chunks of the seed are seen stored, at most ``limit`` seconds.

        ``since`` is time.monotonic() of the seed's end, from which the wait counts.
        """
        checks: list[tuple[str, float, Callable[[], bool]]] = []
        if mark["keys"] is not None:
            checks.append(("key_count", POLL_S, lambda: self._keys_rose(mark["keys"], chunks)))
        if self._log:
            follower = LogFollower(self._log, mark["log"], request_id)
            checks.append(("log", POLL_S, lambda: follower.stored() >= chunks * self._chunk_size))
        if mark["gauge"] is not None:
            checks.append(("counter", POLL_METRICS_S, lambda: (self._gauge_value() or 0) >= mark["gauge"] + chunks))
        due = {how: 0.0 for how, _pause, _check in checks}
        while True:
            for how, pause, check in checks:
                if time.monotonic() >= due[how]:
                    if check():
                        return _visible(how, True, since, limit)
                    due[how] = time.monotonic() + pause
            left = since + limit - time.monotonic()
            if left <= 0:
                return _visible(checks[0][0] if checks else None, False, since, limit)
            time.sleep(min(POLL_S, left) if checks else left)

    def _keys(self) -> dict[str, int] | None:
        """key_count by instance; of an instance with several ranks the smallest."""
        if self._controller is None:
            return None
        try:
            workers = read_workers(self._controller)
        except RequestFailed:
            return None
        if self._mine is None:  # engines that have just started register within seconds
            self._learn_names(workers)
        counts: dict[str, int] = {}
        for worker in workers:
            count, name = worker["key_count"], str(worker["instance_id"])
            if isinstance(count, int):
                counts[name] = min(count, counts.get(name, count))
        return counts

    def _learn_names(self, workers: list[dict[str, Any]]) -> None:
        self._mine, self._other = instance_of(self._holder, workers), instance_of(self._receiver, workers)

    def _keys_rose(self, before: dict[str, int], chunks: int) -> bool:
        now = self._keys() or {}
        rose = [name for name, count in now.items() if count >= before.get(name, 0) + chunks]
        if self._mine is None:  # whose addresses say nothing: the only other instance that gained the chunks
            rose = [name for name in rose if name != self._other]
            if len(rose) == 1:
                self._mine = rose[0]
        return self._mine in rose

    def _gauge_value(self) -> float | None:
        if not self._gauge:
            return None
        return self._holder.scrape()["values"].get(GAUGE)


class LogFollower:
    """Adds up the ``Stored`` lines of one request in what a log gained since ``offset``."""

    def __init__(self, path: str, offset: int, request_id: str):
        self._path, self._offset, self._id = path, offset, request_id
        self._scanner, self._rest, self._tokens = lines.Scanner(), b"", 0

    def stored(self) -> int:
        """Tokens stored so far; reads on from where it stopped.  Of a file that shrank: from its start."""
        try:
            with open(self._path, "rb") as log:
                if os.fstat(log.fileno()).st_size < self._offset:
                    self._offset = 0
                log.seek(self._offset)
                data = log.read(MAX_LOG_BYTES)
        except OSError:
            return self._tokens
        self._offset += len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            event = self._scanner.feed(line, 0)
            if event and event["kind"] == "stored" and event.get("id") and lines.same_request(self._id, event["id"]):
                self._tokens += event["tokens"] or 0
        return self._tokens


def _readable(path: str | None) -> bool:
    return path is not None and os.path.isfile(path) and os.access(path, os.R_OK)


def _visible(how: str | None, reached: bool, started: float, limit: float) -> dict[str, Any]:
    return {
        "how": how,
        "reached": reached,
        "waited_s": round(max(0.0, time.monotonic() - started), 6),
        "limit_s": round(limit, 3),
    }
