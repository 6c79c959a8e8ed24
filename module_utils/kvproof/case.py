# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One pair's evidence with the questions the judge asks of it.

A Case wraps a ``kvproof.evidence/1`` document (docs/evidence.md).  It looks values up, it never decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

# LMCache's defaults for the keys the judge reads (lmcache/v1/config.py, 0.5.6).  Used only where a
# configuration was read and does not mention the key.
DEFAULTS = {
    "chunk_size": 256,
    "local_cpu": True,
    "max_local_cpu_size": 5.0,
    "enable_async_loading": False,
    "enable_p2p": False,
    "enable_pd": False,
    "enable_controller": False,
    "min_retrieve_tokens": 0,
    "pre_caching_hash_algorithm": "builtin",
    "lookup_timeout_ms": 3000,
    "remote_url": None,
    "local_disk": None,
    "p2p_host": None,
    "lmcache_instance_id": None,
}
SIDES = ("holder", "receiver")


@dataclass(frozen=True)
class Setting:
    """A configuration value and where it was seen: "internal_api", "log", "file", "default"."""

    value: Any
    source: str

    @property
    def is_effective(self) -> bool:
        return self.source in ("internal_api", "log")

    def __str__(self) -> str:
        words = {
            "internal_api": "effective, internal API",
            "log": "effective, engine log",
            "file": "from the file; the effective value could not be read",
            "default": "not set, so LMCache's default",
        }
        return f"{self.value} ({words[self.source]})"


def as_bool(value: Any) -> bool | None:
    """A configuration boolean as LMCache reads it: of the strings only "true" and "1" count as true."""
    if isinstance(value, str):
        return value.strip().lower() in ("true", "1")
    return None if value is None else bool(value)


class Side:
    """One engine of the pair: what the probe saw of it over HTTP and what was read on its node."""

    def __init__(self, role: str, name: str, engine: dict | None, node: dict | None):
        self.role = role
        self.name = name
        self.engine = engine or {}
        self.node = node or {}

    @cached_property
    def _layers(self) -> list[tuple[str, dict]]:
        effective = self.node.get("effective") or {}
        layers = [(effective.get("source"), effective.get("values"))]
        internal = self.engine.get("internal") or {}
        layers.append(("internal_api", internal.get("conf")))
        config = self.node.get("config_file") or {}
        if config.get("state") == "ok":
            layers.append(("file", config.get("values")))
        return [(source, values) for source, values in layers if source and values]

    def setting(self, key: str) -> Setting | None:
        """The value in force, as far as it was seen; None when no configuration was read."""
        for source, values in self._layers:
            if key in values:
                return Setting(values[key], source)
        if self._layers and key in DEFAULTS:
            return Setting(DEFAULTS[key], "default")
        return None

    def flag(self, key: str) -> Setting | None:
        """Like setting(), read as LMCache reads a boolean."""
        found = self.setting(key)
        return None if found is None else Setting(as_bool(found.value), found.source)

    @property
    def file_values(self) -> dict | None:
        config = self.node.get("config_file") or {}
        return config.get("values") if config.get("state") == "ok" else None

    def meta(self, key: str) -> Any:
        """A field of LMCache's metadata (/meta, else the engine's own log line)."""
        internal = self.engine.get("internal") or {}
        for source in (self.node.get("meta"), internal.get("meta"), self._meta_from_log):
            if source and source.get(key) is not None:
                return source[key]
        return None

    @property
    def _meta_from_log(self) -> dict | None:
        for event in reversed(self.head("initialized")):
            if event.get("meta"):
                return event["meta"]
        return None

    def version(self, product: str) -> str | None:
        """Version of "lmcache" or "vllm" as the node, the internal API or the API server tells it."""
        internal = self.engine.get("internal") or {}
        for source in (self.node.get("versions"), internal.get("versions")):
            if source and source.get(product):
                return source[product]
        return self.engine.get("version") if product == "vllm" else None

    @property
    def backends(self) -> list | None:
        internal = self.engine.get("internal") or {}
        found = self.node.get("backends")
        if found is None:
            found = internal.get("backends")
        if found is None:
            created = [e.get("name") for e in self.head("backend_created")]
            found = created or None
        return list(found) if found is not None else None

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

    def events_of(self, response_id: str | None, *kinds: str) -> list[dict]:
        """Events that carry this request's id (the log adds a suffix to the response's id)."""
        if not response_id:
            return []
        return [e for e in self.events if is_id(e.get("id"), response_id) and (not kinds or e.get("kind") in kinds)]

    @property
    def none_hash(self) -> str | None:
        seen = self.head("none_hash")
        return str(seen[-1].get("value")) if seen else None

    @property
    def instance_id(self) -> str | None:
        found = self.setting("lmcache_instance_id")
        if found and found.value:
            return str(found.value)
        seen = self.head("registering")
        return seen[-1].get("instance") if seen else (self.node.get("cache_server") or {}).get("instance_id")

    def __str__(self) -> str:
        return self.name


def is_id(logged: str | None, response_id: str) -> bool:
    """Whether a logged id belongs to a response: the log writes it bare or with "-<n>-<hex>" after it."""
    return bool(logged) and (logged == response_id or logged.startswith(response_id + "-"))


class Case:
    """A pair's evidence.  Sides are ``holder`` and ``receiver``."""

    def __init__(self, evidence: dict):
        self.evidence = evidence
        self.probe = evidence.get("probe") or {}
        engines = self.probe.get("engines") or {}
        nodes = evidence.get("nodes") or {}
        pair = evidence.get("pair") or {}
        self.holder = Side("holder", pair.get("holder") or "holder", engines.get("holder"), nodes.get("holder"))
        self.receiver = Side(
            "receiver", pair.get("receiver") or "receiver", engines.get("receiver"), nodes.get("receiver")
        )
        self.sides = (self.holder, self.receiver)
        self.architecture = evidence.get("architecture") or "inprocess_p2p"
        self.seed_mode = evidence.get("mode") == "seed"

    def side(self, role: str) -> Side:
        return self.holder if role == "holder" else self.receiver

    @property
    def trials(self) -> list[dict]:
        return self.probe.get("trials") or []

    @property
    def prompt(self) -> dict:
        return self.probe.get("prompt") or {}

    @cached_property
    def controllers(self) -> list[dict]:
        """What is known of the controller: read on its host, else over HTTP by the probe."""
        found = [c for c in self.evidence.get("controllers") or [] if c]
        if self.probe.get("controller"):
            found.append(self.probe["controller"])
        return found

    @cached_property
    def workers(self) -> list[dict] | None:
        """Registered workers as a controller lists them; None: nobody could ask."""
        for controller in self.controllers:
            if controller.get("workers") is not None:
                return controller["workers"]
        return None

    def chunk_size(self) -> int | None:
        """The receiver's chunk size in tokens: effective, else what the probe went by."""
        found = self.receiver.setting("chunk_size")
        value = found.value if found else self.prompt.get("chunk_size")
        return int(value) if value else None

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
        sent += [probe.get(role) for role in ("never_seen", "recompute", "reference")]
        return [request for request in sent if request]
