# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One engine of a pair, with the questions the judge asks of what was seen of it.  Looks values up, never decides."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from ..stack import mp
from ..stack.lines import same_request
from ..stack.numbers import whole
from ..stack.settings import DEFAULTS, LOOPBACK, as_bool, from_environment, typed

EFFECTIVE = ("cache_server", "internal_api", "log")


WORDS = {
    "internal_api": "effective, internal API",
    "cache_server": "effective, its cache server",
    "log": "effective, engine log",
    "environ": "from the engine's environment; the effective value could not be read",
    "file": "from the file; the effective value could not be read",
    "default": "not set, so LMCache's default",
}


@dataclass(frozen=True)
class Setting:
    """A configuration value and where it was seen, best first: a key of WORDS.

    certain: what the engine runs with was read, so this is the value in force.  Files and environments are not:
    a file may have been changed since the start, and connector options and runtime changes stand above both.
    """

    value: Any
    source: str
    certain: bool = True

    def __str__(self) -> str:
        return f"{self.value} ({WORDS[self.source]})"


class Side:
    """One engine of the pair: what the probe saw of it over HTTP and what was read on its node."""

    def __init__(self, role: str, name: str, engine: dict | None, node: dict | None):
        self.role = role
        self.name = name
        self.engine = engine or {}
        self.node = node or {}
        self.servers_elsewhere: list[dict] = []  # cache servers that are inventory hosts of their own

    @cached_property
    def server_readings(self) -> list[dict]:
        """Its cache server (multiprocess mode), as its node, a host of its own or the probe saw it."""
        probed, beside = self.engine.get("cache_server"), self.node.get("cache_server")
        mine = [probed] if probed else []
        if beside and (probed or beside.get("wanted")):  # else one that the engine's connector does not use
            mine.append(beside)
        return mine + [document for document in self.servers_elsewhere if self._is_mine(document)]

    def _is_mine(self, server: dict) -> bool:
        """Whether a server of another host is this engine's: the engine registered with it."""
        return bool(self.registered_as & set((server.get("facts") or {}).get("engines") or []))

    @property
    def registered_as(self) -> set[str]:
        """Ids under which the engine's ranks registered with their cache server, by the engine's own log."""
        return {event["instance"] for event in self.head("mp_adapter") if event.get("instance")}

    @cached_property
    def server(self) -> dict:
        """What its cache server says of itself, the probe's first look before a node's later one."""
        facts = [document.get("facts") for document in self.server_readings]
        return mp.of_engine(next((known for known in facts if known), {}), self.registered_as)

    @property
    def server_healthy(self) -> bool:
        """Whether its cache server said so, and nobody was told otherwise later."""
        return any(d.get("healthy") for d in self.server_readings) and not any(
            d.get("down") for d in self.server_readings
        )

    @property
    def uses_its_server(self) -> bool | None:
        """Whether the engine is registered with the cache server that was read; None where one of them is unknown."""
        engines = self.server.get("engines")
        return bool(self.registered_as & set(engines)) if engines is not None and self.registered_as else None

    def served(self, ids: tuple[str, ...], *kinds: str) -> list[dict]:
        """Events of its cache server's log that carry one of these ids."""
        logs = [document.get("log") or {} for document in self.server_readings]
        events = [event for log in logs for event in log.get("events") or [] if event.get("kind") in kinds]
        return [event for event in events if any(same_request(request_id, event.get("id")) for request_id in ids)]

    @cached_property
    def _layers(self) -> list[tuple[str, dict]]:
        effective, internal = self.node.get("effective") or {}, self.engine.get("internal") or {}
        config = self.node.get("config_file") or {}
        logged = [e.get("values") for e in self.head("config")][-1:]
        layers = [
            ("cache_server", _settings_of(self.server)),
            ("internal_api", effective.get("values") if effective.get("source") == "internal_api" else None),
            ("internal_api", internal.get("conf")),
            ("log", effective.get("values") if effective.get("source") == "log" else None),
            *(("log", values) for values in logged),
            ("environ", from_environment((self.node.get("engine") or {}).get("env"))),
            ("file", config.get("values") if config.get("state") == "ok" else None),
        ]
        return [(source, values) for source, values in layers if values]

    def setting(self, key: str) -> Setting | None:
        """The value in force, as far as it was seen; None where it is unknown.

        LMCache's default counts only where nothing but a file was read: what an engine tells of itself names every
        key it has.
        """
        for source, values in self._layers:
            if values.get(key) is not None or (key in values and DEFAULTS.get(key) is None):
                return Setting(typed(key, values[key]), source, source in EFFECTIVE)
        sources = {source for source, _values in self._layers}
        if key in DEFAULTS and "file" in sources and not sources & set(EFFECTIVE):
            return Setting(DEFAULTS[key], "default", False)
        return None

    def flag(self, key: str) -> Setting | None:
        """Like setting(), read as LMCache reads a boolean."""
        setting = self.setting(key)
        return None if setting is None else Setting(as_bool(setting.value), setting.source, setting.certain)

    def count(self, key: str) -> int | None:
        """Like setting(), for a number; None also where the value is none."""
        setting = self.setting(key)
        value = setting.value if setting else None
        return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None

    @property
    def file_values(self) -> dict | None:
        config = self.node.get("config_file") or {}
        return config.get("values") if config.get("state") == "ok" else None

    def meta(self, key: str) -> Any:
        """A field of LMCache's metadata (/meta, else the engine's own log line)."""
        internal = self.engine.get("internal") or {}
        for source in (self.server, self.node.get("meta"), internal.get("meta"), self._meta_from_log):
            if source and source.get(key) is not None:
                return source[key]
        return None

    @property
    def ranks(self) -> int | None:
        """Its world size; 1 where nobody tells, None where what is told is no number of ranks."""
        told = self.meta("world_size")
        return 1 if told is None else whole(told, 1)

    @property
    def _meta_from_log(self) -> dict | None:
        for event in reversed(self.head("initialized")):
            if event.get("meta"):
                return event["meta"]
        return None

    def version(self, product: str) -> str | None:
        """Version of "lmcache" or "vllm" as the node, the internal API or the API server tells it."""
        internal = self.engine.get("internal") or {}
        of_server = {"lmcache": self.server.get("version")}
        for source in (of_server, self.node.get("versions"), internal.get("versions")):
            if source and source.get(product):
                return source[product]
        return self.engine.get("version") if product == "vllm" else None

    @property
    def backends(self) -> list | None:
        internal = self.engine.get("internal") or {}
        names = self.node.get("backends")
        if names is None:
            names = internal.get("backends")
        if names is None:
            created = [e.get("name") for e in self.head("backend_created")]
            names = created or None
        return list(names) if names is not None else None

    @property
    def log(self) -> dict:
        return self.node.get("log") or {}

    @property
    def log_readable(self) -> bool:
        return self.log.get("state") == "ok"

    def head(self, *kinds: str) -> list[dict]:
        """Start-up facts of the log's head, in order; empty also when the head was not read."""
        return [e for e in self.log.get("head") or [] if e.get("kind") in kinds]

    @property
    def events(self) -> list[dict]:
        """Events of the log since this run began, in order."""
        return self.log.get("events") or []

    @cached_property
    def _by_id(self) -> dict[str, list[dict]]:
        by_id: dict[str, list[dict]] = {}
        for event in self.events:
            if event.get("id"):
                by_id.setdefault(event["id"], []).append(event)
        return by_id

    def events_of(self, ids: str | tuple[str, ...] | None, *kinds: str) -> list[dict]:
        """Events that carry one of these ids (of one request), in order; of all kinds where none is given."""
        ids = (ids,) if isinstance(ids, str) else ids or ()
        events = [
            e
            for logged, of_id in self._by_id.items()
            if any(same_request(request_id, logged) for request_id in ids)
            for e in of_id
        ]
        return [e for e in events if not kinds or e.get("kind") in kinds]

    @property
    def hosts(self) -> set[str]:
        """Names and addresses under which this engine is known to be reached by others."""
        p2p = self.node.get("p2p_host") or {}
        known = [p2p.get("value"), *(p2p.get("resolved") or []), *(self.node.get("addresses") or [])]
        try:
            known.append(urlsplit(self.engine.get("url") or "").hostname)
        except ValueError:
            pass  # no URL
        return {host for host in known if host and host not in LOOPBACK}

    @property
    def none_hash(self) -> str | None:
        lines = self.head("none_hash")
        return str(lines[-1].get("value")) if lines else None

    @cached_property
    def identity(self) -> Setting | None:
        """lmcache_instance_id: as configured where one is set, else as the engine registered with it."""
        if self.server.get("instance_id"):
            return Setting(self.server["instance_id"], "cache_server")
        configured = self.setting("lmcache_instance_id")
        registered = [e["instance"] for e in self.head("registering") if e.get("instance")]
        if registered and not (configured and configured.value and configured.certain):
            return Setting(registered[-1], "log")
        if configured and configured.value:
            return Setting(str(configured.value), configured.source, configured.certain)
        return None

    @property
    def instance_id(self) -> str | None:
        return self.identity.value if self.identity else None

    def __str__(self) -> str:
        return self.name


def _settings_of(server: dict) -> dict:
    """What a cache server (SERVER.facts) says of settings that LMCache in the engine's process has, too."""
    known = {
        "chunk_size": server.get("chunk_size"),
        "pre_caching_hash_algorithm": server.get("hash_algorithm"),
    }
    return {key: value for key, value in known.items() if value is not None}
