# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One pair's evidence with the questions the judge asks of it.

A Case wraps a ``kvproof.evidence/1`` document that evidence.read() has let in.  It looks values up, it never decides.
"""

from __future__ import annotations

from collections import Counter
from functools import cached_property

from ..evidence.document import Evidence
from ..stack.settings import DEFAULTS
from .side import Side


class Case:
    """A pair's evidence.  Sides are ``holder`` and ``receiver``."""

    def __init__(self, evidence: Evidence):
        self.evidence = evidence
        self.probe: dict = evidence.get("probe") or {}
        engines = self.probe.get("engines") or {}
        nodes = evidence.get("nodes") or {}
        pair = evidence.get("pair") or {}
        self.holder = Side("holder", pair.get("holder") or "holder", engines.get("holder"), nodes.get("holder"))
        self.receiver = Side(
            "receiver", pair.get("receiver") or "receiver", engines.get("receiver"), nodes.get("receiver")
        )
        self.sides = (self.holder, self.receiver)
        for side in self.sides:
            side.servers_elsewhere = [server for server in evidence.get("cache_servers") or [] if server]
        self.architecture = evidence.get("architecture") or "inprocess_p2p"
        self.source = evidence.get("source") or "p2p"  # from where KV may come: "p2p" or "any"
        self.trouble: list[str] = []  # checks that could not be made, one sentence each

    @property
    def trials(self) -> list[dict]:
        return self.probe.get("trials") or []

    @property
    def prompt(self) -> dict:
        return self.probe.get("prompt") or {}

    @cached_property
    def controllers(self) -> list[dict]:
        """What is known of the controller: read on its host, else over HTTP by the probe."""
        readings = [c for c in self.evidence.get("controllers") or [] if c]
        if self.probe.get("controller"):
            readings.append(self.probe["controller"])
        return readings

    @cached_property
    def workers(self) -> list[dict] | None:
        """Registered workers as a controller lists them; None: nobody could ask."""
        for controller in self.controllers:
            if controller.get("workers") is not None:
                return controller["workers"]
        return None

    @cached_property
    def coordinators(self) -> list[dict]:
        """What is known of the multiprocess mode's coordinator: read on its host, else over HTTP by the probe."""
        readings = [c for c in self.evidence.get("coordinators") or [] if c]
        return [*readings, *([self.probe["coordinator"]] if self.probe.get("coordinator") else [])]

    @cached_property
    def instances(self) -> list[dict] | None:
        """Cache servers as a coordinator lists them; None: nobody could ask."""
        return next((c["instances"] for c in self.coordinators if c.get("instances") is not None), None)

    def limit(self, name: str) -> float | None:
        """A limit of performance that the operator set, of the run this evidence is from."""
        return (self.evidence.get("limits") or {}).get(name)

    def chunk_size(self) -> int | None:
        """The receiver's chunk size in tokens: as configured, else what the probe went by."""
        return self.receiver.count("chunk_size") or self.prompt.get("chunk_size")

    @property
    def lookup_timeout_s(self) -> float:
        """After how many seconds the receiver gives a lookup up: as configured, else LMCache's default."""
        return (self.receiver.count("lookup_timeout_ms") or DEFAULTS["lookup_timeout_ms"]) / 1000

    def ids(self, request: dict | None) -> tuple[str, ...]:
        """Ids under which a log may show this request alone: the response's, and the one that was sent.

        A proxy may rewrite either; one that two requests share ties nothing to a request.
        """
        candidates = [(request or {}).get(name) for name in ("response_id", "request_id")]
        return tuple(request_id for request_id in candidates if request_id and self._id_uses[request_id] == 1)

    @cached_property
    def _id_uses(self) -> Counter:
        return Counter(
            request_id
            for request in self.requests()
            for request_id in dict.fromkeys((request.get("response_id"), request.get("request_id")))
            if request_id
        )

    def expected_hit(self, trial: dict) -> int | None:
        """Tokens that a working pair reuses: whole chunks of the common prefix of the ids sent."""
        chunk, prefix = self.chunk_size(), trial.get("prefix_tokens")
        if not chunk or prefix is None:
            return trial.get("expected_hit")
        return prefix // chunk * chunk

    def requests(self) -> list[dict]:
        """Every request this run sent, in no particular order."""
        probe = self.probe
        sent = list(probe.get("warmup") or [])
        for trial in self.trials:
            sent += [trial.get(role) for role in ("seed", "reuse", "knockout", "repeat")]
        sent += [probe.get(role) for role in ("never_seen", "recompute", "reference", "flush")]
        return [request for request in sent if request]
