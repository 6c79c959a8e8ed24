# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""LMCache's settings: the names that evidence may hold, their defaults, and how LMCache reads a value."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .numbers import is_plausible, of_digits, whole
from .redact import pick

#: Keys of LMCache's configuration (lmcache/v1/config.py of 0.5.6, and those of older versions that matter
#: to P2P).  `extra_config` is absent on purpose: it carries connector credentials.
LMCACHE_KEYS = frozenset(
    """
    chunk_size local_cpu max_local_cpu_size reserve_local_cpu_size local_disk max_local_disk_size remote_url
    remote_serde use_layerwise save_decode_cache save_unfull_chunk pre_caching_hash_algorithm enable_blending
    retrieve_locations store_location cache_policy numa_mode enable_p2p p2p_host p2p_init_ports p2p_lookup_ports
    transfer_channel nixl_backends nixl_buffer_size nixl_buffer_device mp_host mp_port enable_controller
    lmcache_instance_id controller_pull_url controller_reply_url lmcache_worker_ports lmcache_worker_ids
    lmcache_worker_heartbeat_delay_time lmcache_worker_heartbeat_time enable_pd pd_role pd_buffer_size
    pd_buffer_device pd_peer_host pd_peer_init_port pd_peer_alloc_port pd_peer_query_port pd_proxy_host
    pd_proxy_port pd_backend_mode pd_bidirectional pd_skip_proxy_notification
    enable_async_loading lookup_timeout_ms min_retrieve_tokens
    lookup_server_worker_ids hit_miss_ratio enable_scheduler_bypass_lookup external_lookup_client
    blocking_timeout_secs pin_timeout_sec enable_kv_events enable_chunk_statistics gds_path maru_path
    storage_plugins remote_storage_plugins internal_api_server_enabled internal_api_server_host
    internal_api_server_port_start internal_api_server_include_index_list remote_config_url lookup_url
    distributed_url controller_url lmcache_worker_url lmcache_worker_port p2p_init_port p2p_lookup_port enable_nixl
    nixl_role nixl_receiver_host nixl_receiver_port enable_xpyd
    """.split()
)

#: Fields of LMCache's metadata (`GET /meta`, and the line `LMCache initialized for role ...`).
META_KEYS = frozenset(
    """
    model_name served_model_name world_size local_world_size worker_id local_worker_id kv_dtype kv_shape use_mla
    chunk_size role engine_id first_rank fmt
    """.split()
)

#: Environment variables: these, and `LMCACHE_<KEY>` of every key.
ENV_NAMES = frozenset(
    """
    PYTHONHASHSEED PROMETHEUS_MULTIPROC_DIR LMCACHE_CONFIG_FILE LMCACHE_LOG_LEVEL LMCACHE_TRACK_USAGE
    LMCACHE_USE_EXPERIMENTAL VLLM_HOST_IP VLLM_PORT VLLM_USE_V1 VLLM_SERVER_DEV_MODE VLLM_LOGGING_LEVEL
    VLLM_CONFIGURE_LOGGING VLLM_NIXL_SIDE_CHANNEL_HOST VLLM_NIXL_SIDE_CHANNEL_PORT VLLM_CPU_KVCACHE_SPACE
    VLLM_KV_CACHE_LAYOUT VLLM_ATTENTION_BACKEND CUDA_VISIBLE_DEVICES UCX_TLS UCX_NET_DEVICES NIXL_LOG_LEVEL
    HF_HUB_OFFLINE OMP_NUM_THREADS
    """.split()
) | frozenset("LMCACHE_" + key.upper() for key in LMCACHE_KEYS)

#: LMCache's defaults for the keys that kvproof reads (lmcache/v1/config.py, 0.5.6).
DEFAULTS: dict = {
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
    "internal_api_server_host": "127.0.0.1",
    "internal_api_server_port_start": 6999,
}
#: Names under which a host reaches only itself, and addresses that stand for all that a host has.
LOOPBACK = ("localhost", "127.0.0.1", "::1")
WILDCARDS = ("0.0.0.0", "::")

_DTYPE_BYTES = {
    "float32": 4,
    "float": 4,
    "bfloat16": 2,
    "float16": 2,
    "half": 2,
    "int8": 1,
    "uint8": 1,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
}


def lmcache_config(mapping: object) -> dict:
    """An LMCache configuration (file, log line or `/conf`) reduced to LMCACHE_KEYS."""
    return pick(mapping, LMCACHE_KEYS)


def other_keys(mapping: Iterable) -> list[str]:
    """Names of the keys of a configuration file that are not in LMCACHE_KEYS; never their values."""
    return sorted(str(key)[:80] for key in mapping if key not in LMCACHE_KEYS)[:64]


def lmcache_meta(mapping: object) -> dict | None:
    """LMCache metadata reduced to META_KEYS; None when there is none."""
    return pick(mapping, META_KEYS) or None


def environment(pairs: dict[str, str]) -> dict:
    """An environment reduced to ENV_NAMES, which include `LMCACHE_<KEY>` of every listed key."""
    return pick(pairs, ENV_NAMES)


def from_environment(env: dict | None) -> dict:
    """The settings that an environment (name → value, or None) holds: `LMCACHE_CHUNK_SIZE` is chunk_size."""
    prefix = "LMCACHE_"
    return {name[len(prefix) :].lower(): value for name, value in (env or {}).items() if name.startswith(prefix)}


def as_bool(value: object) -> bool | None:
    """A boolean setting as LMCache reads it: of the strings only "true" and "1" count as true; None stays None."""
    if isinstance(value, str):
        return value.strip().lower() in ("true", "1")
    return None if value is None else bool(value)


def typed(key: str, value: object) -> object:
    """A number that came as a string, as environments give it, where LMCache has a number."""
    default = DEFAULTS.get(key)
    if isinstance(value, str) and isinstance(default, (int, float)) and not isinstance(default, bool):
        try:
            number = float(value)
        except ValueError:
            return value
        if not is_plausible(number):
            return value
        return int(number) if number.is_integer() else number
    return value


def kv_bytes_per_token(meta: object) -> float | None:
    """KV bytes of one token on one engine, all its ranks together; None where `meta` is incomplete or implausible.

    `meta` is LMCache's metadata; its kv_shape is (layers, k and v, chunk, heads, head size).
    """
    if not isinstance(meta, dict):
        return None
    shape = [of_digits(digits) for digits in re.findall(r"\d+", str(meta.get("kv_shape") or "")[:200])]
    size = _DTYPE_BYTES.get(str(meta.get("kv_dtype")).rpartition(".")[2])
    if len(shape) != 5 or not all(shape) or size is None:
        return None
    layers, halves, _chunk, heads, head_size = (float(number or 0) for number in shape)
    per_token = layers * halves * heads * head_size * size * (whole(meta.get("world_size"), 1) or 1)
    return per_token if is_plausible(per_token) else None
