# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What LMCache's cache servers and their coordinator answer over HTTP, in multiprocess mode (0.5.6): the GETs that
change nothing, and what of their answers evidence may hold.

The node's readers (node.multiprocess) and the probe (probe.cache_server) both ask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .numbers import is_plausible, whole
from .redact import plain

HEALTH, STATUS, CONFIG, VERSION, METRICS = "/healthcheck", "/status", "/config", "/version", "/metrics"
COORDINATOR_HEALTH, INSTANCES, DIRECTORY = "/healthz", "/instances", "/directory/stats"
LOOKUP = "/directory/lookup"  # POST, and changes nothing: it reads where the chunks of a prompt are
SERVER = "MPCacheServer"  # what /status calls itself
P2P_ADAPTER = "P2PL2Adapter"
SERVER_HTTP_PORT, SERVER_PORT, COORDINATOR_PORT = 8080, 5555, 9300  # LMCache's defaults
SERVER_HTTP_HOST = "127.0.0.1"
MOST = 256  # instances, peers or adapters that are kept
MOST_KEYS = 8192  # of one prompt: its chunks, times ranks

#: Series of a server's page.  A series is not there before its first increment, which is neither zero nor broken.
_PREFIX = "lmcache_mp_"
LOOKUPS, REQUESTED = _PREFIX + "lookups_requests_total", _PREFIX + "lookup_requested_tokens_total"
HIT_L1, HIT_L2 = _PREFIX + "lookup_hit_l1_tokens_total", _PREFIX + "lookup_hit_l2_tokens_total"
WRITTEN, READ = _PREFIX + "l1_write_chunks_total", _PREFIX + "l1_read_chunks_total"
EVICTED = _PREFIX + "l1_evicted_chunks_total"
LOADED = _PREFIX + "l2_load_completed_requests_total"  # with the adapter's name: {l2_name=p2p}
LOADED_BY_P2P = LOADED + "{l2_name=p2p}"
SERIES = (LOOKUPS, REQUESTED, HIT_L1, HIT_L2, WRITTEN, READ, EVICTED, LOADED)


def server_facts(ask: Callable[[str], object]) -> dict | None:
    """SERVER.facts from the decoded answers that `ask` gives for a path (None: no answer); None where it is no server.

    Source: lmcache/v1/multiprocess/http_apis of 0.5.6.
    """
    status = ask(STATUS)
    if not isinstance(status, dict) or status.get("engine_type") != SERVER:
        return None
    config = _dict(ask(CONFIG))
    mp, storage = _dict(config.get("mp")), _dict(status.get("storage_manager"))
    p2p, l1 = _dict(mp.get("p2p_config")), _dict(storage.get("l1_manager"))
    adapters = [adapter for adapter in _list(storage.get("l2_adapters")) if isinstance(adapter, dict)]
    contexts = {
        str(number)[:64]: context
        for name in ("cache_context_meta", "non_cuda_context_meta")
        for number, context in list(_dict(status.get(name)).items())[:MOST]
        if isinstance(context, dict)
    }
    latest = list(contexts.values())[::-1]
    version = ask(VERSION)
    return {
        "instance_id": _text(mp.get("instance_id")),
        "host": _text(mp.get("host")),
        "port": whole(mp.get("port"), 1, 65535),
        "chunk_size": whole(status.get("chunk_size"), 1),
        "hash_algorithm": _text(status.get("hash_algorithm")),
        "p2p_enabled": _flag(status.get("p2p_enabled")),
        "p2p_state": _text(status.get("p2p_state")),
        "p2p_peers": [str(plain(peer)) for peer in _list(status.get("p2p_peers"))],
        "p2p_advertise_url": _text(p2p.get("advertise_url")),
        "l2_adapters": [str(plain(adapter.get("type"))) for adapter in adapters],
        "engines": engines_of(status),
        "model_name": next((_text(context.get("model_name")) for context in latest), None),
        "world_size": next((whole(context.get("world_size"), 1) for context in latest), None),
        "world_sizes": {number: whole(context.get("world_size"), 1) for number, context in contexts.items()},
        "started_at": _seconds(_dict(status.get("kv_events")).get("incarnation")),
        "l1_used_bytes": whole(l1.get("memory_used_bytes")),
        "l1_total_bytes": whole(l1.get("memory_configured_bytes")),
        "version": version[:64] if isinstance(version, str) else None,
    }


def of_engine(facts: dict, ids: Iterable[str]) -> dict:
    """SERVER.facts with the world size of the engine whose ranks are registered as these: a server also keeps what an
    engine before it had registered, until that was silent for a while."""
    sizes = facts.get("world_sizes") or {}
    known = {sizes[number] for number in ids if sizes.get(number)}
    return {**facts, "world_size": known.pop()} if len(known) == 1 else facts


def engines_of(status: object) -> list[str]:
    """Ids of the engines' ranks that are registered with a server, of the decoded answer to STATUS; as text, for they
    are beyond what JSON numbers hold."""
    return [
        str(number)[:64]
        for name in ("registered_gpu_ids", "registered_non_cuda_instance_ids")
        for number in _list(_dict(status).get(name))
        if isinstance(number, (int, str))
    ]


def instances(answer: object) -> list[dict] | None:
    """COORDINATOR.instances of the decoded answer to INSTANCES; None where it is no list of instances."""
    listed = answer.get("instances") if isinstance(answer, dict) else None
    if not isinstance(listed, list) or not all(isinstance(instance, dict) for instance in listed[:MOST]):
        return None
    return [
        {
            "instance_id": _text(instance.get("instance_id")),
            "ip": _text(instance.get("ip")),
            "http_port": whole(instance.get("http_port"), 0, 65535),
            "mq_port": whole(instance.get("mq_port"), 0, 65535),
            "p2p_advertised_url": _text(instance.get("p2p_advertised_url")),
            "registration_time": instance["registration_time"]
            if is_plausible(instance.get("registration_time"))
            else None,
        }
        for instance in listed[:MOST]
    ]


def keys_of(answer: object) -> dict:
    """Instance → how many keys it has in L1, of the decoded answer to DIRECTORY."""
    counts = _dict(_dict(answer).get("l1_keys_by_instance"))
    return {str(plain(name)): whole(count) for name, count in list(counts.items())[:MOST]}


def placed(answer: object) -> dict | None:
    """TRIAL.directory of the decoded answer to LOOKUP: how many chunks were asked for, how many of them each instance
    has of every rank and of each, and what a chunk takes on one rank; None where it is none."""
    chunks = whole(_dict(answer).get("chunks"))
    if chunks is None:
        return None
    ranks, sizes = 1, []
    of_rank: dict = {}
    for number, result in enumerate(_list(_dict(answer).get("results"), MOST_KEYS)):
        key = _dict(_dict(result).get("key"))
        size, rank = _rank(key.get("kv_rank"))
        ranks = max(ranks, size)
        places = [place for place in _list(_dict(result).get("placements")) if isinstance(place, dict)]
        for name in {str(plain(place.get("instance_id"))) for place in places}:
            of_rank.setdefault(name, {}).setdefault(rank, set()).add(str(key.get("chunk_hash_hex") or number))
        sizes += [size for size in (whole(place.get("size_bytes"), 1) for place in places) if size]
    told = {name: {str(rank): len(its.get(rank, ())) for rank in range(ranks)} for name, its in of_rank.items()}
    return {
        "chunks": chunks,
        "holders": {name: min(its.values()) for name, its in told.items()},
        "ranks": told,
        "chunk_bytes": max(sizes, default=None),
    }


def _rank(packed):
    """(number of ranks, rank) of a key's kv_rank: a byte each, of world size, rank and their local ones
    (lmcache/v1/distributed/api.py of 0.5.6)."""
    size, rank = ((packed >> shift) & 0xFF for shift in (24, 16)) if isinstance(packed, int) else (1, 0)
    return (size, rank) if 0 <= rank < size else (1, 0)


def _dict(value):
    return value if isinstance(value, dict) else {}


def _list(value, most=MOST):
    return value[:most] if isinstance(value, list) else []


def _text(value):
    return plain(value) if isinstance(value, str) and value else None


def _flag(value):
    return value if isinstance(value, bool) else None


def _seconds(nanoseconds):
    """Epoch seconds of a server's incarnation, which is when it started."""
    return round(nanoseconds / 1e9, 3) if isinstance(nanoseconds, int) and 0 < nanoseconds < 1 << 62 else None
