# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One engine's node while it is read: how to read it, what was read of it so far, and what several readers need."""

from __future__ import annotations

from functools import cached_property

from ..stack.settings import from_environment
from . import config, sockets
from .log import Want


class Node:
    """`node["log"]` is that part of the NODE document, read by its reader when it is first wanted.

    `options`: values of arguments.NODE.  `readers`: name of a part → what reads it, given this Node.
    """

    def __init__(self, options: dict, readers: dict, proc: str = "/proc"):
        self.options, self.proc = options, proc
        self.listening = sockets.Listening(proc)
        self.bytes_read = 0
        #: processes of which nothing shows that one is this engine's, so that not even our namespace may be its
        self.others: list[int] = []
        self._readers = readers
        self._parts: dict = {}

    def __getitem__(self, part: str):
        if part not in self._parts:
            self._parts[part] = self._readers[part](self)
        return self._parts[part]

    @property
    def pid(self) -> int | None:
        """The engine's, None where its process was not found."""
        return self["engine"]["pid"]

    def want(self, started_at: float | None = None, budget: int | None = None) -> Want:
        """What is looked for in a log of this node, and how much of it may be read."""
        options = self.options
        return Want(
            options["ids"],
            options["run_marker"],
            options["since"],
            started_at=started_at,
            head_bytes=options["log_head"],
            budget=budget or options["log_budget"],
            max_events=options["max_events"],
            timeout=options["log_timeout"],
        )

    @cached_property
    def log_events(self) -> list[dict]:
        """All events of the log, the start-up facts first."""
        return self["log"]["head"] + self["log"]["events"]

    def last_logged(self, kind: str, **fields: object) -> dict | None:
        """The last event of a kind that has the given fields."""
        for event in reversed(self.log_events):
            if event["kind"] == kind and all(event.get(name) == value for name, value in fields.items()):
                return event
        return None

    @cached_property
    def api(self) -> dict:
        """What LMCache's internal API answers, as config.ask_api returns it."""
        event = self.last_logged("config")
        logged = event["values"] if event else None
        known = self["config_file"]["values"] if logged is None else logged
        return config.ask_api(self.options["internal_api_url"], known, self.options["api_timeout"], logged)

    @cached_property
    def settings(self) -> dict:
        """The best guess at LMCache's, for what to dial: in effect, else the file with the environment over it."""
        if self["effective"]["source"]:
            return self["effective"]["values"]
        return dict(self["config_file"]["values"], **from_environment(self["engine"]["env"]))
