# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways to share KV, and by what an engine is recognised as having one of them.

vLLM's connector decides, and for LMCacheConnectorV1 LMCache's enable_pd: the same connector serves the in-process P2P
and LMCache's prefill/decode transfer (lmcache/v1/config.py:761 of 0.5.6 refuses both at once).
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterable

from . import settings, versions

INPROCESS_P2P, MP, LMCACHE_PD, NIXL_PD = "inprocess_p2p", "mp", "lmcache_pd", "nixl_pd"
ARCHITECTURES = (INPROCESS_P2P, MP, LMCACHE_PD, NIXL_PD)
#: As the operator names them.
NAMED = {"p2p": INPROCESS_P2P, "mp": MP, "lmcache_pd": LMCACHE_PD, "nixl_pd": NIXL_PD}
IN_WORDS = {
    INPROCESS_P2P: "LMCache's in-process P2P",
    MP: "LMCache's multiprocess mode",
    LMCACHE_PD: "LMCache's prefill/decode transfer",
    NIXL_PD: "vLLM's NixlConnector",
}
IN_PROCESS = "LMCacheConnectorV1"
CONNECTORS: dict = {
    IN_PROCESS: INPROCESS_P2P,
    "LMCacheMPConnector": MP,
    "NixlConnector": NIXL_PD,
}
#: What stands for vLLM's connector where its command line was seen and names none.
NO_CONNECTOR = "none"
#: vLLM's options that may give a connector.
GIVES_ONE = ("kv-transfer-config", "kv-transfer-config.kv-connector", "kv-offloading-backend", "config")
#: Series that an engine's own metrics page has from its start, and what they tell (vLLM 0.32, LMCache 0.5.6).  FETCHES
#: is there on every engine that may fetch KV and on no other (vllm/v1/metrics/loggers.py:569); vLLM has it since
#: FETCHES_SINCE.
NIXL_SERIES, MP_SERIES = "vllm:nixl_xfer_time_seconds_count", "vllm:lmcache_mp_lookup_duration_seconds_count"
FETCHES = "vllm:num_requests_kv_fetch_by_stage"
FETCHES_SINCE = versions.since(FETCHES)
#: What an engine dies of: (architecture, kv_role) → the request (LMCache 0.5.6, pd_backend_async.py:1068).
KILLERS = {(LMCACHE_PD, "kv_producer"): "a completion without disagg_spec ends its process"}
#: pd_role of LMCache → vLLM's kv_role, whose words stand for the role in both.
PD_ROLES: dict = {"sender": "kv_producer", "receiver": "kv_consumer"}

#: ``name``: one of ARCHITECTURES, None where it was not recognised.  ``role``: kv_producer, kv_consumer, kv_both, or
#: None.  ``connector``: vLLM's, None where none was seen.  ``unsure``: why the name may be another, or None.
Recognised = namedtuple("Recognised", "name role connector unsure")


def of_node(node: dict | None) -> Recognised:
    """What the engine is that a NODE document shows; by the connector's own settings first, then those in force."""
    node = node or {}
    engine, head = node.get("engine") or {}, (node.get("log") or {}).get("head") or []
    options = engine.get("options") or {}
    transfer = options.get("kv-transfer-config")
    started = [event for event in head if event.get("kind") == "engine_started" and event.get("connector")]
    if not transfer and started:
        transfer = {"kv_connector": started[-1]["connector"], "kv_role": started[-1].get("role")}
    if not transfer and options and not any(name in options for name in GIVES_ONE):
        return Recognised(None, None, NO_CONNECTOR, None)
    effective, file = node.get("effective") or {}, node.get("config_file") or {}
    lmcache = effective.get("values") if effective.get("source") else None
    if lmcache is None and file.get("state") == "ok" and engine.get("env") is not None:
        lmcache = {**(file.get("values") or {}), **settings.from_environment(engine["env"])}
    return recognise(transfer, lmcache)


def mp_instances(node: dict | None) -> list[str]:
    """As what the engine's ranks registered with their cache server, by the engine's log in a NODE document."""
    head = ((node or {}).get("log") or {}).get("head") or []
    events = [event for event in head if event.get("kind") == "mp_adapter" and event.get("instance")]
    return list(dict.fromkeys(event["instance"] for event in events))


def recognise(transfer: dict | None, lmcache: dict | None) -> Recognised:
    """What an engine is.

    transfer: its --kv-transfer-config as commands.kv_transfer_config() gives it, or {kv_connector, kv_role} of its
        log's engine_started line; None where neither was seen.
    lmcache: LMCache's settings in force or in its file, None where nobody could read them.
    """
    transfer = transfer or {}
    connector, role = transfer.get("kv_connector"), transfer.get("kv_role")
    parts = [part for part in transfer.get("connectors") or [] if isinstance(part, dict)]
    if parts:  # MultiConnector: each of its parts would be an architecture of its own
        known = [part for part in parts if part.get("kv_connector") in CONNECTORS]
        if len(known) != 1:
            return Recognised(None, role, connector, "it has several connectors")
        connector, role = known[0]["kv_connector"], known[0].get("kv_role") or role
    if not isinstance(connector, str):
        return Recognised(None, None, None, None)
    name = CONNECTORS.get(connector)
    if name is None and "LMCache" in connector:  # a vendor's own, made of the in-process one
        name = INPROCESS_P2P
    if name != INPROCESS_P2P:
        return Recognised(name, role, connector, None)
    values = dict(lmcache or {})
    for key, value in (transfer.get("kv_connector_extra_config") or {}).items():
        values[key.partition("lmcache.")[2]] = value
    if settings.as_bool(values.get("enable_pd")) and not settings.as_bool(values.get("enable_p2p")):
        return Recognised(LMCACHE_PD, PD_ROLES.get(values.get("pd_role"), role), connector, None)
    if lmcache is None:
        return Recognised(name, role, connector, "LMCache's settings could not be read, and enable_pd may be set")
    return Recognised(name, role, connector, None)


def of_metrics(series: Iterable[str], has_lmcache: bool, vllm: str | None) -> Recognised:
    """What an engine is by its own metrics page, where nothing else was seen.

    series: names of its samples.  has_lmcache: whether any is LMCache's.  vllm: its version, None where it is unknown.
    """
    if NIXL_SERIES in series:
        return Recognised(NIXL_PD, None, "NixlConnector", None)
    if MP_SERIES in series:
        return Recognised(MP, None, "LMCacheMPConnector", None)
    if FETCHES in series or versions.release(vllm) < FETCHES_SINCE:
        return Recognised(None, None, None, None)
    if has_lmcache:
        return Recognised(LMCACHE_PD, "kv_producer", IN_PROCESS, None)
    return Recognised(None, None, None, "it fetches no KV and has no metrics of LMCache, so it may be a producer of KV")
