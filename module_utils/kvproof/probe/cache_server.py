# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""LMCache's cache servers and their coordinator as HTTP shows them: SERVER and COORDINATOR without their nodes' half,
the counters around one request, and when a seed is stored.
"""

from __future__ import annotations

import time
from typing import Any

from ..stack import mp
from ..transport.http import Deadline, HttpClient, RequestFailed, check_url
from ..transport.ssh_route import SshSettings
from . import metrics
from .engine import Engine, open_tunnel

TIMEOUT_S = 5.0
POLL_S = 0.1
ANNOUNCED_S = 1.0
SETTLES_S = 2.0  # in which a request's counters are there: the server counts in a queue of its own
_STATES = {"connect": "refused", "timeout": "timeout", "deadline": "timeout", "json": "not-json", "ssh": "no-tunnel"}
_NOT_READ = {"running": None, "pid": None, "user": None, "found_by": None, "unseen": ["process"]}
WHY = "without it a request hangs for up to 300 s"


class CacheServer:
    """One engine's server: its connection and ``document``, the SERVER that grows."""

    def __init__(self, engine: Engine, url: str):
        self._http, self._engine = engine.beside(check_url(url, "mp_url")), engine.settings.name
        self._known_as = engine.settings.mp_instances
        self.document: dict[str, Any] = {
            "schema": "kvproof.cache_server/1",
            "name": None,
            "ssh": "not-used",
            "url": self._http.base,
            "http": None,
            "healthy": None,
            "facts": None,
            "after": None,
            "process": _NOT_READ,
            "down": None,
        }

    @property
    def facts(self) -> dict[str, Any]:
        return self.document["facts"] or {}

    def contact(self) -> None:
        """Its health, and what it is."""
        document = self.document
        try:
            self._http.get(mp.HEALTH, TIMEOUT_S)
        except RequestFailed as exc:
            document["http"], document["healthy"] = _page(exc.error), False if exc.error["status"] is not None else None
            return
        document["http"], document["healthy"] = {"state": "ok", "status": 200, "text": None}, True
        document["facts"] = self._facts()

    def look_again(self) -> None:
        self.document["after"] = self._facts()

    def unready(self) -> str | None:
        """Why its engine must not be sent a request, of what contact() showed; None where it may."""
        document, url = self.document, self._http.base
        if document["healthy"] is not True:
            return f"{self._engine}'s cache server is not healthy: {document['http']['text']}; {WHY}"
        if document["facts"] is None:
            return f"what answers at {url} is no cache server of LMCache: correct kv_reuse_mp_url"
        if not self._registered(document["facts"]["engines"]):
            why = "which was restarted without it, or is not the one that its lmcache.mp.host names"
            return f"{self._engine} is not registered with its cache server at {url}, {why}; {WHY}"
        return None

    def guard(self) -> dict[str, Any] | None:
        """Why its engine must not be sent a request now, an ERROR; None where the server is healthy and knows it.

        A server that was restarted within the engine's heartbeat is healthy, and the engine hangs all the same.
        """
        try:
            self._http.get(mp.HEALTH, TIMEOUT_S)
            engines = mp.engines_of(self._http.get_json(mp.STATUS, TIMEOUT_S))
        except RequestFailed as exc:
            return self._lost(exc.error["text"], exc.error["status"])
        if not engines or not set(self._known_as or self.facts["engines"]) <= set(engines):
            return self._lost("it was restarted, and its engine is not registered with it", None)
        return None

    def _registered(self, engines: list[str]) -> bool:
        """Whether the engine is among those registered; where its log did not show as what, any is taken for it."""
        return set(self._known_as) <= set(engines) if self._known_as else bool(engines)

    def _lost(self, why: str, status: int | None) -> dict[str, Any]:
        self.document["down"] = f"{self._engine}'s cache server failed during the probe: {why}; {WHY}"
        return {"kind": "connect", "status": status, "text": self.document["down"]}

    def counters(self) -> dict[str, Any]:
        """METRICS of now, of its counters."""
        return metrics.scrape(self._http, self._http.base + mp.METRICS, TIMEOUT_S)

    def settled(self, before: dict[str, Any], counter: str, limit: float = SETTLES_S) -> dict[str, float] | None:
        """Rises since ``before``, once this counter rose, or after so many seconds."""
        end = time.monotonic() + limit
        while True:
            window = metrics.rises(before, self.counters())
            done = window is None or window.get(counter) or time.monotonic() >= end
            time.sleep(POLL_S)
            if done:  # what belongs to it is counted beside it
                return metrics.rises(before, self.counters())

    def _facts(self) -> dict[str, Any] | None:
        def ask(path: str) -> Any:
            try:
                return self._http.get_json(path, TIMEOUT_S)
            except RequestFailed:
                return None

        facts = mp.server_facts(ask)
        return mp.of_engine(facts, self._known_as) if facts else None


class Coordinator:
    """The coordinator: its connection and ``document``, the COORDINATOR's half that HTTP shows."""

    def __init__(self, url: str, deadline: Deadline, ssh: SshSettings | None):
        base = check_url(url, "coordinator_url")
        self._http = HttpClient(base, deadline, tunnel=open_tunnel(ssh, deadline))
        self.document: dict[str, Any] = {
            "schema": "kvproof.coordinator/1",
            "name": None,
            "ssh": "not-used",
            "url": base,
            "http": None,
            "healthy": None,
            "instances": None,
            "keys": None,
            "process": _NOT_READ,
            "options": None,
        }

    def contact(self) -> None:
        """Its health, and whom it knows."""
        document = self.document
        try:
            self._http.get(mp.COORDINATOR_HEALTH, TIMEOUT_S)
            document["healthy"], document["http"] = True, {"state": "ok", "status": 200, "text": None}
            document["instances"] = mp.instances(self._http.get_json(mp.INSTANCES, TIMEOUT_S))
            document["keys"] = mp.keys_of(self._http.get_json(mp.DIRECTORY, TIMEOUT_S))
        except RequestFailed as exc:
            document["http"] = _page(exc.error)
            document["healthy"] = False if exc.error["status"] is not None else None

    def where(self, prompt: list[int] | str, model: str | None, ranks: int | None) -> dict[str, Any] | None:
        """TRIAL.directory of a prompt of token ids, once it has all chunks or after a while: servers announce what they
        store with a delay.  None where nobody can tell."""
        if isinstance(prompt, str) or not model or not self.document["healthy"]:
            return None
        question = {"model_name": model, "world_size": ranks or 1, "token_ids": prompt, "cache_salt": ""}
        end = time.monotonic() + ANNOUNCED_S
        while True:
            try:
                directory = mp.placed(self._http.post_json(mp.LOOKUP, question, TIMEOUT_S))
            except RequestFailed:
                return None
            whole = directory and directory["chunks"] <= max(directory["holders"].values(), default=0)
            if whole or time.monotonic() >= end:
                return directory
            time.sleep(POLL_S)

    def server_url(self, host: str) -> str | None:
        """URL of the only server that registered with this address."""
        known = [i for i in self.document["instances"] or [] if i["ip"] == host and i["http_port"]]
        return f"http://{host}:{known[0]['http_port']}" if len(known) == 1 else None


class ServerWatch:
    """Waits for seeds to be stored by the holder's server, which peers ask directly: its counter of chunks written."""

    sees = True

    def __init__(self, server: CacheServer, ranks: int):
        self._server, self._ranks = server, ranks
        self.window: dict[str, float] | None = None  # the rises of the last wait

    def learn_gauge(self) -> None:
        """There is none to learn."""

    def before(self) -> dict[str, Any]:
        return self._server.counters()

    def wait(self, mark: dict[str, Any], request_id: str, chunks: int, *, limit: float, since: float) -> dict[str, Any]:
        """VISIBLE: polls until so many chunks of every rank are written, at most ``limit`` seconds after ``since``."""
        while True:
            self.window = metrics.rises(mark, self._server.counters())
            reached = self.window is not None and self.window.get(mp.WRITTEN, 0.0) >= chunks * self._ranks
            left = since + limit - time.monotonic()
            if reached or left <= 0:
                return {
                    "how": "counter",
                    "reached": reached,
                    "waited_s": round(max(0.0, time.monotonic() - since), 6),
                    "limit_s": round(limit, 3),
                }
            time.sleep(min(POLL_S, left))


def _page(error: dict[str, Any]) -> dict[str, Any]:
    return {"state": _STATES.get(error["kind"], "error"), "status": error["status"], "text": error["text"]}
