# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may leave a node: names and keys that are listed here, and URLs without their credentials.

Everything else (API keys, tokens, extra_config, whole environments) is dropped where it is read, so that
a secret can reach neither the evidence nor a report.  Standard library only, Python 3.8 and later.
"""

from __future__ import annotations

import json
import math
import re

MAX_TEXT = 512

#: Keys of LMCache's configuration (lmcache/v1/config.py of 0.5.6, and those of older versions that matter
#: to P2P).  `extra_config` is absent on purpose: it carries connector credentials.
LMCACHE_KEYS = frozenset(
    [
        "chunk_size",
        "local_cpu",
        "max_local_cpu_size",
        "reserve_local_cpu_size",
        "local_disk",
        "max_local_disk_size",
        "remote_url",
        "remote_serde",
        "use_layerwise",
        "save_decode_cache",
        "save_unfull_chunk",
        "pre_caching_hash_algorithm",
        "enable_blending",
        "retrieve_locations",
        "store_location",
        "cache_policy",
        "numa_mode",
        "enable_p2p",
        "p2p_host",
        "p2p_init_ports",
        "p2p_lookup_ports",
        "transfer_channel",
        "nixl_backends",
        "nixl_buffer_size",
        "nixl_buffer_device",
        "mp_host",
        "mp_port",
        "enable_controller",
        "lmcache_instance_id",
        "controller_pull_url",
        "controller_reply_url",
        "lmcache_worker_ports",
        "lmcache_worker_ids",
        "lmcache_worker_heartbeat_delay_time",
        "lmcache_worker_heartbeat_time",
        "enable_pd",
        "pd_role",
        "pd_buffer_size",
        "pd_buffer_device",
        "pd_peer_host",
        "pd_peer_init_port",
        "pd_peer_alloc_port",
        "pd_peer_query_port",
        "pd_proxy_host",
        "pd_proxy_port",
        "pd_backend_mode",
        "pd_bidirectional",
        "enable_async_loading",
        "lookup_timeout_ms",
        "min_retrieve_tokens",
        "lookup_server_worker_ids",
        "hit_miss_ratio",
        "enable_scheduler_bypass_lookup",
        "external_lookup_client",
        "blocking_timeout_secs",
        "pin_timeout_sec",
        "enable_kv_events",
        "enable_chunk_statistics",
        "gds_path",
        "maru_path",
        "storage_plugins",
        "remote_storage_plugins",
        "internal_api_server_enabled",
        "internal_api_server_host",
        "internal_api_server_port_start",
        "internal_api_server_include_index_list",
        "remote_config_url",
        "lookup_url",
        "distributed_url",
        "controller_url",
        "lmcache_worker_url",
        "lmcache_worker_port",
        "p2p_init_port",
        "p2p_lookup_port",
        "enable_nixl",
        "nixl_role",
        "nixl_receiver_host",
        "nixl_receiver_port",
        "enable_xpyd",
    ]
)

#: Fields of LMCache's metadata (`GET /meta`, and the line `LMCache initialized for role ...`).
META_KEYS = frozenset(
    [
        "model_name",
        "served_model_name",
        "world_size",
        "local_world_size",
        "worker_id",
        "local_worker_id",
        "kv_dtype",
        "kv_shape",
        "use_mla",
        "chunk_size",
        "role",
        "engine_id",
        "first_rank",
        "fmt",
    ]
)

_ENV_OTHER = frozenset(
    [
        "PYTHONHASHSEED",
        "PROMETHEUS_MULTIPROC_DIR",
        "LMCACHE_CONFIG_FILE",
        "LMCACHE_LOG_LEVEL",
        "LMCACHE_TRACK_USAGE",
        "LMCACHE_USE_EXPERIMENTAL",
        "VLLM_HOST_IP",
        "VLLM_PORT",
        "VLLM_USE_V1",
        "VLLM_SERVER_DEV_MODE",
        "VLLM_LOGGING_LEVEL",
        "VLLM_CONFIGURE_LOGGING",
        "VLLM_NIXL_SIDE_CHANNEL_HOST",
        "VLLM_NIXL_SIDE_CHANNEL_PORT",
        "VLLM_CPU_KVCACHE_SPACE",
        "VLLM_KV_CACHE_LAYOUT",
        "VLLM_ATTENTION_BACKEND",
        "CUDA_VISIBLE_DEVICES",
        "UCX_TLS",
        "UCX_NET_DEVICES",
        "NIXL_LOG_LEVEL",
        "HF_HUB_OFFLINE",
        "OMP_NUM_THREADS",
    ]
)
ENV_NAMES = _ENV_OTHER | frozenset("LMCACHE_" + key.upper() for key in LMCACHE_KEYS)

#: Command-line options of vLLM, without dashes in front.  `api-key`, `hf-token`, `ssl-*` never pass.
VLLM_OPTIONS = frozenset(
    [
        "model",
        "served-model-name",
        "host",
        "port",
        "uds",
        "root-path",
        "config",
        "dtype",
        "max-model-len",
        "kv-cache-dtype",
        "block-size",
        "enable-prefix-caching",
        "no-enable-prefix-caching",
        "prefix-caching-hash-algo",
        "enable-prompt-tokens-details",
        "kv-transfer-config",
        "kv-transfer-config.kv-connector",
        "kv-offloading-backend",
        "tensor-parallel-size",
        "pipeline-parallel-size",
        "data-parallel-size",
        "data-parallel-rank",
        "decode-context-parallel-size",
        "enable-expert-parallel",
        "max-num-batched-tokens",
        "max-num-seqs",
        "max-logprobs",
        "enable-chunked-prefill",
        "no-enable-chunked-prefill",
        "seed",
        "quantization",
        "tokenizer",
        "revision",
        "enforce-eager",
        "distributed-executor-backend",
        "gpu-memory-utilization",
        "num-gpu-blocks-override",
        "load-format",
        "api-server-count",
        "disable-hybrid-kv-cache-manager",
        "no-disable-hybrid-kv-cache-manager",
        "enable-request-id-headers",
        "trust-remote-code",
        "headless",
    ]
)
VLLM_SHORT_OPTIONS = {
    "tp": "tensor-parallel-size",
    "pp": "pipeline-parallel-size",
    "dp": "data-parallel-size",
    "dcp": "decode-context-parallel-size",
    "q": "quantization",
}
CONTROLLER_OPTIONS = frozenset(
    [
        "config",
        "host",
        "port",
        "monitor-ports",
        "monitor-port",
        "health-check-interval",
        "lmcache-worker-timeout",
    ]
)

KV_TRANSFER_KEYS = frozenset(
    [
        "kv_connector",
        "kv_role",
        "kv_rank",
        "kv_parallel_size",
        "kv_buffer_device",
        "kv_buffer_size",
        "kv_ip",
        "kv_port",
        "engine_id",
        "kv_load_failure_policy",
        "kv_connector_module_path",
        "enable_permute_local_kv",
    ]
)
_KV_EXTRA_KEYS = frozenset(
    [
        "discard_partial_chunks",
        "lmcache_rpc_port",
        "skip_last_n_tokens",
        "use_native",
        "lmcache.mp.host",
        "lmcache.mp.port",
    ]
)

_CREDENTIALS = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*://)\S*@")
_QUERY = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*://[^\s?#'\"]*)[?#][^\s'\",)]*")
_BARE_CREDENTIALS = re.compile(r"[^\s/@'\"=]+:[^\s/@'\"]*@")
_SECRET_WORDS = re.compile(
    r"(?i)((?:api[_-]?key|token|secret|passw(?:or)?d|authorization)['\"]?\s*[:=]\s*|bearer\s+)(?!bearer)['\"]?\S+"
)
_BEFORE_SECRET = re.compile(r"[:=\s]")  # one of these follows each of the words: ids and names have none
_SECRET_SHAPES = re.compile(r"\b(?:hf_|sk-|ghp_|xox.-)[A-Za-z0-9_-]{8,}")


def redact(text):
    """`text` with the user part and the query of every URL in it removed.

    Everything up to the last `@` of a URL goes: a password may itself contain `/` or `@`.
    """
    text = str(text)
    if "://" in text:
        text = _QUERY.sub(r"\1", _CREDENTIALS.sub(r"\1", text))
    return _BARE_CREDENTIALS.sub("", text) if "@" in text else text


def without_secrets(text):
    """`text` without what a URL, a telling word or its shape gives away."""
    text = redact(text)
    if _BEFORE_SECRET.search(text):
        text = _SECRET_WORDS.sub(r"\1***", text)
    return _SECRET_SHAPES.sub("***", text)


def redact_line(line):
    """A raw log line without secrets, at most 300 characters."""
    return without_secrets(line[:2000])[:300]


def plain(value):
    """`value` as evidence may carry it: a scalar or a flat list of scalars, strings redacted and cut.

    Anything else (nested objects, not-a-number, infinity) becomes None.
    """
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value if not isinstance(item, (list, tuple, dict))][:64]
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return redact(value)[:MAX_TEXT]
    return None


def pick(mapping, names):
    """The items of `mapping` whose key is in `names`, values made `plain`."""
    if not isinstance(mapping, dict):
        return {}
    return {key: plain(value) for key, value in mapping.items() if key in names}


def lmcache_config(mapping):
    """An LMCache configuration (file, log line or `/conf`) reduced to LMCACHE_KEYS."""
    return pick(mapping, LMCACHE_KEYS)


def other_keys(mapping):
    """Names of the keys of a configuration file that are not in LMCACHE_KEYS; never their values."""
    return sorted(str(key)[:80] for key in mapping if key not in LMCACHE_KEYS)[:64]


def lmcache_meta(mapping):
    """LMCache metadata reduced to META_KEYS; None when there is none."""
    return pick(mapping, META_KEYS) or None


def environment(pairs):
    """An environment reduced to ENV_NAMES, which include `LMCACHE_<KEY>` of every listed key."""
    return pick(pairs, ENV_NAMES)


def kv_transfer_config(value):
    """vLLM's `--kv-transfer-config`: a JSON string or a dict, reduced to listed keys, `connectors` included.

    `kv_connector_extra_config` keeps `lmcache.<listed key>` only.  Returns None for what is not an object.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    if not isinstance(value, dict):
        return None
    kept = pick(value, KV_TRANSFER_KEYS)
    extra = value.get("kv_connector_extra_config")
    if isinstance(extra, dict):
        names = _KV_EXTRA_KEYS | {"lmcache." + key for key in LMCACHE_KEYS}
        kept["kv_connector_extra_config"] = pick(extra, names)
        if isinstance(extra.get("connectors"), list):
            kept["connectors"] = [kv_transfer_config(item) for item in extra["connectors"][:8]]
    return kept


def options(argv, names, short=None):
    """Options of a command line (list of words) reduced to `names`; keys without leading dashes.

    Understands `--name value`, `--name=value`, `--flag` (True) and underscores for dashes.  Words that
    belong to no listed option are dropped, values are redacted.
    """
    found = {}
    index = 0
    while index < len(argv):
        word = argv[index]
        index += 1
        if not word.startswith("-") or word in ("-", "--"):
            continue
        name, equals, value = word.lstrip("-").partition("=")
        name = name.replace("_", "-")
        if not word.startswith("--"):
            name = (short or {}).get(name, name)
        if not equals:
            has_value = index < len(argv) and (not argv[index].startswith("-") or _is_number(argv[index]))
            value = argv[index] if has_value else True
            index += has_value
        if name in names:
            found[name] = plain(value)
            if name == "kv-transfer-config":
                found[name] = kv_transfer_config(value)
    return found


def _is_number(word):
    try:
        float(word)
    except ValueError:
        return False
    return True
