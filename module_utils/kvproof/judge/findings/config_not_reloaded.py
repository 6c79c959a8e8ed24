# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ...stack.settings import as_bool
from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="config-not-reloaded",
    link=4,
    kind="cause",
    rank=65,
    title="The file on disk is not what the engine runs with",
    meaning=(
        "LMCache reads its configuration once, at start, and environment variables override the file. Where the file "
        "differs from what the engine runs with, the file is not in force."
    ),
    evidence="The LMCache YAML against the effective configuration (internal API or the engine's own log line).",
    remedy="Restart the engine, or bring the file in line with what runs; what is set in two places, set in one.",
    source="LMCache 0.5.6, precedence of configuration",
    explains=frozenset([]),
)


KEYS = (
    "enable_p2p",
    "p2p_host",
    "p2p_init_ports",
    "p2p_lookup_ports",
    "enable_async_loading",
    "local_cpu",
    "chunk_size",
    "controller_pull_url",
    "controller_reply_url",
    "lmcache_instance_id",
    "enable_controller",
    "enable_pd",
    "pre_caching_hash_algorithm",
    "transfer_channel",
    "min_retrieve_tokens",
)
BOOLEANS = ("enable_p2p", "enable_async_loading", "local_cpu", "enable_controller", "enable_pd")


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    for side in case.sides:
        effective = side.node.get("effective") or {}
        values, on_disk = effective.get("values") or {}, side.file_values
        if not values or on_disk is None:
            continue
        apart = [k for k in KEYS if k in on_disk and k in values and _plain(k, on_disk[k]) != _plain(k, values[k])]
        if apart:
            yield Sighting(
                side.name,
                "; ".join(f"{k}: {on_disk[k]}" for k in apart) + " (file)",
                "; ".join(f"{k}: {values[k]}" for k in apart) + " (in force)",
                _why(side, apart),
            )


def _why(side, keys) -> str:
    """What set the values in force, as far as the engine's command line and environment tell."""
    engine = side.node.get("engine") or {}
    transfer = (engine.get("options") or {}).get("kv-transfer-config")
    extra = (transfer.get("kv_connector_extra_config") if isinstance(transfer, dict) else None) or {}
    on_line = [key for key in keys if f"lmcache.{key}" in extra]
    in_environment = [
        key for key in keys if key not in on_line and f"LMCACHE_{key.upper()}" in (engine.get("env") or {})
    ]
    rest = [key for key in keys if key not in (*on_line, *in_environment)]
    parts = [f"kv_connector_extra_config on the engine's command line sets {', '.join(on_line)}"] * bool(on_line)
    parts += [f"the environment sets {', '.join(in_environment)}"] * bool(in_environment)
    if rest:
        parts.append("the file was changed after the start" + ("" if parts else ", or the environment overrides it"))
    return "; ".join(parts)


def _plain(key, value):
    if key in BOOLEANS:
        return as_bool(value)
    parts = value if isinstance(value, list) else str(value).split(",")
    return [str(part).strip() for part in parts]
