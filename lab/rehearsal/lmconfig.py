# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""LMCache's configuration: file, environment and connector options, with LMCache 0.5.6's own leniency.

A value of the wrong type is converted or dropped with a warning, an unknown key is warned about and ignored,
and `enable_p2p: "yes"` becomes false.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

KEYS: dict[str, list[Any]] = yaml.safe_load(
    (Path(__file__).parent / "data" / "lmcache_keys.yml").read_text(encoding="utf-8")
)
#: old keys that still work, with what LMCache says about them; other old names are unknown keys
DEPRECATED = {
    "plugin_locations": ("runtime_plugin_locations",
                         "plugin_locations is deprecated, use runtime_plugin_locations instead"),
    "external_backends": ("storage_plugins", "external_backends is deprecated, use storage_plugins instead"),
}  # fmt: skip


class Refused(Exception):
    """LMCache refuses this configuration and the engine exits.  ``cause`` is the traceback's last line."""

    def __init__(self, cause: str, reason: str = ""):
        super().__init__(cause)
        self.cause, self.reason = cause, reason


class LMCacheConfig:
    """The effective settings: ``config["chunk_size"]``; ``values`` in LMCache's own order."""

    def __init__(self, values: dict[str, Any]):
        self.values = values

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    def extra(self, key: str, default: Any) -> Any:
        """A setting from ``extra_config``."""
        return (self.values["extra_config"] or {}).get(key, default)


Warn = Callable[..., None]


def load(env: Mapping[str, str], connector: Mapping[str, Any] | None, warn: Warn) -> LMCacheConfig:
    """The configuration an engine starts with.  ``warn(name, **values)`` writes a log entry.

    Raises Refused where LMCache itself would stop.
    """
    values = {key: default for key, (_kind, default) in KEYS.items()}
    path = env.get("LMCACHE_CONFIG_FILE")
    if path is None:
        warn("config_from_environment")
    else:
        warn("config_file", path=path)
        values.update(_read_file(path, warn))
    _from_environment(values, env, warn)
    extra = (connector or {}).get("kv_connector_extra_config") or {}
    for key, value in extra.items():
        name = str(key).removeprefix("lmcache.")
        if str(key).startswith("lmcache.") and name in KEYS:
            values[name] = _convert(name, value)
    if not values["lmcache_instance_id"]:
        values["lmcache_instance_id"] = f"lmcacheengineconfig_{uuid.uuid4().hex}"
    _validate(values, warn)
    return LMCacheConfig(values)


def _read_file(path: str, warn: Warn) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        reason = f"[Errno 2] No such file or directory: '{path}'"
        raise Refused(f"FileNotFoundError: {reason}", reason) from None
    except yaml.YAMLError as exc:
        raise Refused(f"yaml.{type(exc).__name__}: {' '.join(str(exc).split())}", str(exc)) from None
    found = {}
    for key, value in _resolve(loaded, f"file: {path}", warn).items():
        try:
            found[key] = _convert(key, value)
        except (ValueError, TypeError) as exc:
            warn("config_value_bad", key=key, value=repr(value), error=exc)
            found[key] = None
    return found


def _resolve(given: Mapping[str, Any], source: str, warn: Warn) -> dict[str, Any]:
    found = {}
    for key, value in given.items():
        if key in DEPRECATED:
            new, text = DEPRECATED[key]
            warn("config_key_deprecated", text=text, source=source)
            found[new] = value
        elif key in KEYS:
            found[key] = value
        else:
            warn("config_key_unknown", key=key, source=source)
    return found


def _from_environment(values: dict[str, Any], env: Mapping[str, str], warn: Warn) -> None:
    for key in KEYS:
        name = f"LMCACHE_{key.upper()}"
        if name in env:
            try:
                values[key] = _convert(key, _unquoted(env[name]))
            except ValueError as exc:
                warn("config_env_bad", name=name, value=repr(env[name]), error=exc)


def _unquoted(value: str) -> str:
    value = value.strip()
    return value[1:-1] if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"" else value


def _convert(key: str, value: Any) -> Any:
    """A value as LMCache converts it.  Raises ValueError or TypeError."""
    if value is None:
        return None
    kind = KEYS[key][0]
    if kind == "bool":
        return value if isinstance(value, bool) else str(value).strip().lower() in ("true", "1")
    if kind in ("int", "float", "str"):
        return {"int": int, "float": float, "str": str}[kind](value)
    if kind == "json":
        return value if isinstance(value, dict) else json.loads(value) if value else None
    if kind == "paths":
        parts = [part.strip().removeprefix("file://") for part in str(value).split(",") if part.strip()]
        return ",".join(parts) or None
    items = value if isinstance(value, list) else [value] if isinstance(value, (int, float)) else [
        part.strip() for part in str(value).split(",") if part.strip()]  # fmt: skip
    return [{"ints": int, "floats": float, "strs": str}[kind](item) for item in items]


def _validate(values: dict[str, Any], warn: Warn) -> None:
    """What LMCache checks at start; everything else that breaks P2P passes in silence."""
    if (values["min_retrieve_tokens"] or 0) < 0:
        text = f"min_retrieve_tokens must be >= 0, got {values['min_retrieve_tokens']}"
        raise Refused(f"ValueError: {text}", text)
    if values["enable_controller"]:
        for key in ("controller_pull_url", "controller_reply_url"):
            if values[key] is None:
                raise Refused(f"ValueError: {key} is required when enable_controller=True",
                              f"{key} is required when enable_controller=True")  # fmt: skip
        if not values["lmcache_worker_ports"]:
            text = "lmcache_worker_ports is required and cannot be empty when enable_controller=True"
            raise Refused(f"ValueError: {text}", text)
    if values["enable_p2p"]:
        wanted = ("p2p_host", "p2p_init_ports", "p2p_lookup_ports", "transfer_channel")
        if not values["enable_controller"] or any(values[key] is None for key in wanted):
            raise Refused("AssertionError")
    if values["enable_pd"]:
        if any(values[key] is None for key in ("pd_role", "pd_buffer_size", "pd_buffer_device")):
            raise Refused("AssertionError")
        if values["enable_p2p"]:
            raise Refused("AssertionError: PD only supports enable_p2p=False", "PD only supports enable_p2p=False")
        if not values["save_unfull_chunk"]:
            warn("pd_unfull_chunk")
        values["save_unfull_chunk"] = True
