# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads an engine's /metrics and keeps the series the evidence needs: the document METRICS.

Keys of ``values`` are sample names as exposed (with ``_total``, ``_sum``, ``_count``), summed over all labels
but those of KEPT, which become part of the key: ``vllm:prompt_tokens_by_source_total{source=local_compute}``.
"""

from __future__ import annotations

import re
import time
from typing import Any

from ..stack import mp
from ..stack.numbers import is_plausible
from ..transport.http import HttpClient, RequestFailed, looks_like_html

try:
    from prometheus_client.parser import text_string_to_metric_families

    PROMETHEUS_IMPORT_ERROR = None
except ImportError as exc:  # reported by the module with missing_required_lib
    text_string_to_metric_families = None  # type: ignore[assignment]
    PROMETHEUS_IMPORT_ERROR = exc

# Without _total: vLLM and LMCache expose counters with it, some exporters between do not.
WANTED = (
    "process_start_time_seconds",
    "vllm:external_prefix_cache_queries",
    "vllm:external_prefix_cache_hits",
    "vllm:prefix_cache_queries",
    "vllm:prefix_cache_hits",
    "vllm:prompt_tokens",
    "vllm:prompt_tokens_by_source",
    "vllm:prompt_tokens_cached",
    "vllm:prompt_tokens_cached_by_source",
    "vllm:generation_tokens",
    "vllm:request_success",
    "vllm:num_requests_kv_fetch_by_stage",
    "vllm:request_prefill_kv_computed_tokens_sum",
    "vllm:nixl_xfer_time_seconds_count",
    "vllm:nixl_xfer_time_seconds_sum",
    "vllm:nixl_bytes_transferred_sum",
    "vllm:nixl_num_failed_transfers",
    "vllm:nixl_num_failed_notifications",
    "vllm:nixl_num_kv_expired_reqs",
    "vllm:nixl_num_notifications_after_expiry",
    "vllm:lmcache_mp_lookup_duration_seconds_count",
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:time_to_first_token_seconds_count",
    "vllm:time_to_first_token_seconds_sum",
    "lmcache:num_hit_tokens",
    "lmcache:num_requested_tokens",
    "lmcache:num_stored_tokens",
    "lmcache:num_lookup_tokens",
    "lmcache:num_lookup_hits",
    "lmcache:num_vllm_hit_tokens",
    "lmcache:num_prompt_tokens",
    "lmcache:lookup_0_hit_requests",
    "lmcache:num_retrieve_requests",
    "lmcache:num_store_requests",
    "lmcache:retrieve_hit_rate",
    "lmcache:lookup_hit_rate",
    "lmcache:num_remote_read_requests",
    "lmcache:num_remote_read_bytes",
    "lmcache:p2p_time_to_transfer_sum",
    "lmcache:p2p_time_to_transfer_count",
    "lmcache:p2p_transfer_speed_sum",
    "lmcache:p2p_transfer_speed_count",
    "lmcache:local_cpu_hot_cache_count",
    "lmcache:local_cpu_evict_count",
    "lmcache:local_cpu_evict_keys_count",
    "lmcache:local_cpu_evict_failed_count",
    "lmcache:kv_msg_queue_size",
    "lmcache:lmcache_is_healthy",
)
_NAMES = frozenset(WANTED) | frozenset(name + "_total" for name in WANTED) | frozenset(mp.SERIES)
COUNTED = ("_total", "_sum", "_count")  # how the names of counters end, as prometheus_client writes them
KEPT = ("source", "l2_name")  # labels
TIMEOUT_S = 10.0
LONGEST_ERROR = 400  # characters: the parser quotes the whole line that it does not take
_GAUGES_AVERAGED = ("lmcache:retrieve_hit_rate", "lmcache:lookup_hit_rate")  # a sum of rates says nothing
_SAMPLE = re.compile(r"^[A-Za-z_:][A-Za-z0-9_:]*(\{.*\})?\s+[-+0-9.eEIinfNa]+(\s+-?\d+)?\s*$", re.M)


def scrape(http: HttpClient, url: str, timeout: float = TIMEOUT_S) -> dict[str, Any]:
    """GET of a metrics page as METRICS.  Never raises: ``state`` and ``error`` say what went wrong."""
    document: dict[str, Any] = {
        "state": "error",
        "error": None,
        "lmcache": False,
        "at": round(time.time(), 6),
        "values": {},
    }
    try:
        body = http.get(url, timeout).body
    except RequestFailed as exc:
        document["error"] = exc.error
        return document
    document["at"] = round(time.time(), 6)
    try:
        document.update(read_page(body))
    except ValueError as exc:
        document["state"] = "not-prometheus"
        document["error"] = {"kind": "stream", "status": None, "text": f"{url} {exc}"[:LONGEST_ERROR]}
    return document


def rises(before: dict[str, Any], after: dict[str, Any]) -> dict[str, float] | None:
    """How far each counter rose from one METRICS to the other; a series that was not there yet began at 0.

    None where one could not be read, or a counter fell: the engine was restarted.
    """
    if before["state"] != "ok" or after["state"] != "ok":
        return None
    first, last = (
        {name: value for name, value in page["values"].items() if name.partition("{")[0].endswith(COUNTED)}
        for page in (before, after)
    )
    if any(last.get(name, 0.0) < value for name, value in first.items()):
        return None
    return {name: value - first.get(name, 0.0) for name, value in last.items()}


def read_page(body: bytes) -> dict[str, Any]:
    """``lmcache``, ``values`` and state ok of a page in Prometheus' text format.  Raises ValueError for another."""
    advice = "set kv_reuse_metrics_url to the engine's own /metrics"
    if looks_like_html(body):
        raise ValueError(f"gave an HTML page instead of metrics; {advice}")
    text = body.decode("utf-8", "replace")
    if not _SAMPLE.search(text):
        raise ValueError(f"gave no metrics; {advice}")
    # Only the lines wanted are parsed: pages have thousands of histogram buckets.
    lines = [line for line in text.splitlines() if re.split(r"[{\s]", line, maxsplit=1)[0] in _NAMES]
    values: dict[str, float] = {}
    seen: dict[str, int] = {}
    for family in text_string_to_metric_families("\n".join(lines) + "\n"):
        for sample in family.samples:
            if not is_plausible(sample.value):
                continue
            kept = next(((name, sample.labels[name]) for name in KEPT if sample.labels.get(name)), None)
            key = f"{sample.name}{{{kept[0]}={kept[1]}}}" if kept else sample.name
            values[key] = values.get(key, 0.0) + sample.value
            seen[key] = seen.get(key, 0) + 1
    for key in _GAUGES_AVERAGED:
        if key in values:
            values[key] /= seen[key]
    return {"state": "ok", "lmcache": bool(re.search(r"^lmcache:", text, re.M)), "values": values}
