# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which release of LMCache and vLLM has what kvproof reads: kinds of log lines, series, endpoints, options, defaults.

``make versions`` reads the sources of the releases in READ and holds this table to them.
"""

from __future__ import annotations

import re
from collections import namedtuple

LMCACHE, VLLM = "lmcache", "vllm"
#: The releases whose sources were read, oldest first.
READ: dict = {
    LMCACHE: ("0.3.9.post2", "0.3.15", "0.4.7", "0.5.0", "0.5.6"),
    VLLM: ("0.19.1", "0.25.0", "0.29.0", "0.32.0"),
}
#: How many numbers of a release count when it is compared with those that were read.
_COUNTED = {LMCACHE: 3, VLLM: 2}

#: ``what``: line (a kind of stack.lines, there as soon as one of its wordings is), series (without _total, _sum and
#: _count), endpoint, option (a setting, an environment variable, a field of kv_transfer_params, a command line option).
#: ``since``, ``until``: first and last release of READ that has it; None: as far as they reach.  ``names``: each with
#: ``=words`` where the sources have other words for it, as for series that an exporter gives a unit.
Row = namedtuple("Row", "what of since until names")
TABLE = (
    Row(
        "line",
        LMCACHE,
        None,
        None,
        """
        looked_up stored retrieved responded layout peer_connected transfer_finished memory_pressure store_lost
        none_hash hash_algorithm config config_file config_key_unknown registering worker_failed initialized
        p2p_listening pd_p2p_conflict unsupported_channel init_received
        """,
    ),
    Row(
        "line",
        LMCACHE,
        "0.3.15",
        None,
        """
        below_min_retrieve peer_asked peer_error peer_get_failed peer_socket_error retry_exhausted ensure_peer_failed
        handler_crashed receiver_unknown lookup_timed_out controller_lookup_failed unhealthy lookup_server_error
        backend_created register_failed controller_timed_out init_failed degraded server_stored
        """,
    ),
    Row(
        "line",
        LMCACHE,
        "0.4.7",
        None,
        """
        config_refused prefetched coordinator_lost coordinator_met server_back server_lost pd_admission pd_aborted
        pd_put_failed pd_listening pd_refused pd_alloc_failed pd_transfer_failed
        """,
    ),
    Row("line", LMCACHE, "0.5.6", None, "pd_buffer_small"),
    Row("line", LMCACHE, "0.5.0", None, "mp_adapter"),
    Row("line", VLLM, None, None, "engine_started agent_mismatch nixl_failed nixl_incompatible"),
    Row(
        "series",
        VLLM,
        None,
        None,
        """
        vllm:external_prefix_cache_queries vllm:external_prefix_cache_hits vllm:prefix_cache_queries
        vllm:prefix_cache_hits vllm:prompt_tokens vllm:prompt_tokens_by_source vllm:prompt_tokens_cached
        vllm:request_success vllm:nixl_xfer_time_seconds vllm:nixl_num_failed_transfers vllm:nixl_num_kv_expired_reqs
        vllm:nixl_bytes_transferred vllm:nixl_num_failed_notifications vllm:request_prefill_kv_computed_tokens
        vllm:num_requests_running vllm:num_requests_waiting vllm:time_to_first_token_seconds vllm:generation_tokens
        """,
    ),
    Row(
        "series",
        VLLM,
        "0.32.0",
        None,
        """
        vllm:num_requests_kv_fetch_by_stage vllm:prompt_tokens_cached_by_source
        vllm:nixl_num_notifications_after_expiry
        """,
    ),
    Row(
        "series",
        LMCACHE,
        None,
        None,
        """
        lmcache:num_hit_tokens lmcache:num_requested_tokens lmcache:num_stored_tokens lmcache:num_lookup_tokens
        lmcache:num_lookup_hits lmcache:num_vllm_hit_tokens lmcache:num_prompt_tokens lmcache:lookup_0_hit_requests
        lmcache:num_retrieve_requests lmcache:num_store_requests lmcache:retrieve_hit_rate lmcache:lookup_hit_rate
        lmcache:num_remote_read_requests lmcache:num_remote_read_bytes lmcache:p2p_time_to_transfer
        lmcache:p2p_transfer_speed lmcache:local_cpu_hot_cache_count lmcache:local_cpu_evict_count
        lmcache:local_cpu_evict_keys_count lmcache:local_cpu_evict_failed_count
        """,
    ),
    Row("series", LMCACHE, "0.3.15", None, "lmcache:kv_msg_queue_size lmcache:lmcache_is_healthy"),
    Row(
        "series",
        LMCACHE,
        "0.4.7",
        None,
        """
        lmcache_mp_lookup_requested_tokens=lmcache_mp.lookup_requested
        lmcache_mp_l2_load_completed_requests=lmcache_mp.l2_load_completed
        lmcache_mp_l1_write_chunks=lmcache_mp.l1_write lmcache_mp_l1_read_chunks=lmcache_mp.l1_read
        lmcache_mp_l1_evicted_chunks=lmcache_mp.l1_evicted
        """,
    ),
    Row(
        "series",
        LMCACHE,
        "0.5.6",
        None,
        """
        vllm:lmcache_mp_lookup_duration_seconds lmcache_mp_lookup_hit_l1_tokens=lmcache_mp.lookup_hit_l1
        lmcache_mp_lookup_hit_l2_tokens=lmcache_mp.lookup_hit_l2 lmcache_mp_lookups_requests=lmcache_mp.lookups
        """,
    ),
    # of the engine's internal API, the in-process controller, the multiprocess server and its coordinator
    Row("endpoint", LMCACHE, None, None, "/conf /meta /lmc_version /version /lookup"),
    Row("endpoint", LMCACHE, "0.3.15", None, "/backends /controller/workers"),
    Row("endpoint", LMCACHE, "0.4.7", None, "/healthcheck /status /instances /healthz"),
    Row("endpoint", LMCACHE, "0.5.6", None, "/config /config/adapters /directory/lookup /directory/stats"),
    Row(
        "option",
        LMCACHE,
        None,
        None,
        """
        chunk_size pre_caching_hash_algorithm enable_p2p p2p_host p2p_init_ports p2p_lookup_ports transfer_channel
        enable_controller controller_pull_url controller_reply_url lmcache_worker_ports lmcache_worker_heartbeat_time
        lmcache_instance_id local_cpu max_local_cpu_size cache_policy local_disk remote_url lookup_timeout_ms
        enable_async_loading save_decode_cache internal_api_server_host internal_api_server_port_start enable_pd
        disagg_spec
        """,
    ),
    Row(
        "option",
        LMCACHE,
        "0.3.15",
        None,
        """
        min_retrieve_tokens --host --port --chunk-size --hash-algorithm --l1-size-gb --eviction-policy --l2-adapter
        --prometheus-port
        """,
    ),
    Row(
        "option",
        LMCACHE,
        "0.4.7",
        None,
        """
        LMCacheMPConnector cached_token_stats pd_backend_mode lmcache.mp.mq_timeout --instance-id --http-host
        --http-port --coordinator-url --coordinator-advertise-ip --coordinator-heartbeat-interval
        """,
    ),
    Row(
        "option",
        LMCACHE,
        "0.5.0",
        None,
        "--p2p-advertise-url --p2p-listen-url --p2p-transfer-engine --p2p-lookup-timeout",
    ),
    Row("option", LMCACHE, "0.5.6", None, "--coordinator-event-reporting lmcache.mp.save_decode_cache"),
    Row("option", VLLM, None, "0.19.1", "VLLM_NIXL_ABORT_REQUEST_TIMEOUT"),
    Row(
        "option",
        VLLM,
        None,
        None,
        "VLLM_NIXL_SIDE_CHANNEL_HOST VLLM_NIXL_SIDE_CHANNEL_PORT kv_load_failure_policy do_remote_decode",
    ),
    Row("option", VLLM, "0.25.0", None, "kv_lease_duration remote_num_tokens"),
    Row("option", VLLM, "0.29.0", None, "remote_blocks_expiry_time"),
)
#: Defaults of LMCache that are others now (settings.DEFAULTS): key → last release of READ that had it, value.
FORMER_DEFAULTS: dict = {
    "internal_api_server_host": ("0.5.0", "0.0.0.0"),
    "--http-host": ("0.5.0", "0.0.0.0"),
    "save_unfull_chunk": ("0.3.9.post2", True),
}


def release(text: str | None) -> tuple:
    """The numbers that a version begins with: (0, 5, 6) of "0.5.6-g3e11e108"; (0,) where it begins with none."""
    numbers = re.match(r"v?(\d{1,6}(?:\.\d{1,6})*)", text or "")
    return tuple(int(number) for number in numbers[1].split(".")) if numbers else (0,)


def since(name: str) -> tuple:
    """The first release of READ that has what TABLE calls `name`."""
    row = next(row for row in TABLE if name in row.names.split())
    return release(row.since or READ[row.of][0])


def unread(product: str, version: str | None) -> str | None:
    """ "newer" or "older" than every release of READ; None for what lies between them, or where no version is known."""
    count = _COUNTED[product]
    this, oldest, newest = (release(text)[:count] for text in (version, READ[product][0], READ[product][-1]))
    if this == (0,):
        return None
    return "newer" if this > newest else "older" if this < oldest else None
