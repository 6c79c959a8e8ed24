# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""The HTTP answers of a cache server."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

from ..settings import COMMIT, Parameters
from ..web import Site, json_response, plain_json

if TYPE_CHECKING:
    from .server import CacheServer

PAGES: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "data" / "mp_pages.json").read_text(encoding="utf-8")
)
VERSION = f"{Parameters.lmcache_version}-{COMMIT}"


class ServerSite(Site):
    """HTTP server of one cache server."""

    def __init__(self, server: CacheServer):
        super().__init__(server.log)
        self._server = server
        self.get("/", self._root)
        self.get("/healthcheck", self._healthcheck)
        self.get("/status", self._status)
        self.get("/config", self._config)
        self.get("/config/adapters", self._adapters)
        self.get("/version", self._version)
        self.get("/metrics", self._metrics)

    async def _root(self, _request: web.Request) -> web.Response:
        return json_response({"status": "ok", "service": "LMCache HTTP API"})

    async def _healthcheck(self, _request: web.Request) -> web.Response:
        return json_response({"status": "healthy"})

    async def _version(self, _request: web.Request) -> web.Response:
        return json_response(VERSION)

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._server.page.text(), headers={"Content-Type": "text/plain; charset=utf-8"})

    async def _adapters(self, _request: web.Request) -> web.Response:
        adapters = [{"index": adapter.number, "type_name": adapter.name, "tier": "l2", "primary": index == 0,
                     "reconfigurable": False}
                    for index, adapter in enumerate(self._server.peers.adapters.values())]  # fmt: skip
        return json_response({"adapters": adapters})

    async def _status(self, _request: web.Request) -> web.Response:
        server = self._server
        options, peers = server.options, server.peers
        found, adapters = copy.deepcopy(PAGES["status"]), [one.status for one in peers.adapters.values()]
        objects, used = len(server.pool), len(server.pool) * server.chunk_bytes
        l1 = {"total_object_count": objects, "memory_used_bytes": used, "memory_total_bytes": server.size,
              "memory_configured_bytes": server.size, "capacity_bytes_by_backend": {"dram": server.size},
              "temporary_count": sum(one.temporary for one in server.sessions.values()),
              "memory_usage_ratio": used / server.size}  # fmt: skip
        storage, count = (
            found["storage_manager"],
            {"num_l2_adapters": len(adapters), "num_active_adapters": len(adapters)},
        )
        for part in (storage["l1_managers"]["_default"], storage["l1_manager"]):
            part.update(l1)
        for part in (
            storage["store_controllers"]["_default"],
            storage["store_controller"],
            storage["prefetch_controller"],
        ):
            part.update(count)
        storage |= {"l2_adapters": adapters, "num_l2_adapters": len(adapters), "l1_usage": [used, server.size],
                    "l1_capacity_bytes_by_backend": {"dram": server.size}}  # fmt: skip
        found |= {"chunk_size": options.chunk_size, "hash_algorithm": options.hash_algorithm,
                  "active_sessions": len(server.sessions), "p2p_enabled": peers.enabled, "p2p_state": peers.state,
                  "p2p_peer_count": len(adapters), "p2p_peers": sorted(peers.adapters),
                  "registered_non_cuda_instance_ids": list(server.contexts),
                  "non_cuda_context_meta": {str(name): meta for name, meta in server.contexts.items()}}  # fmt: skip
        found["worker_liveness"]["tracked_instances"] = len(server.contexts)
        found["kv_events"] |= {"incarnation": server.incarnation, "next_seq": server.sequence + 1}
        return json_response(found)

    async def _config(self, _request: web.Request) -> web.Response:
        options, size = self._server.options, self._server.size
        found = copy.deepcopy(PAGES["config"])
        found["mp"] |= {"host": options.host, "port": options.port, "chunk_size": options.chunk_size,
                        "hash_algorithm": options.hash_algorithm, "instance_id": options.instance_id,
                        "supported_transfer_mode": options.supported_transfer_mode}  # fmt: skip
        found["mp"]["p2p_config"] |= {
            "advertise_url": options.p2p_advertise_url, "listen_url": options.p2p_listen_url,
            "lookup_timeout": options.p2p_lookup_timeout, "load_timeout": options.p2p_load_timeout}  # fmt: skip
        managers = found["storage_manager"]
        for manager in (managers["l1_manager_config"], *managers["l1_manager_configs"]):
            manager["memory_config"] |= {"size_in_bytes": size, "init_size_in_bytes": size,
                                         "use_lazy": options.l1_use_lazy}  # fmt: skip
            manager["eviction"]["eviction_policy"] = options.eviction_policy
        managers["eviction_config"]["eviction_policy"] = options.eviction_policy
        found["observability"] |= {"prometheus_port": options.prometheus_port,
                                   "service_instance_id": options.instance_id}  # fmt: skip
        found["http"] = {"http_host": options.http_host, "http_port": options.http_port}
        found["coordinator"] |= {
            "url": options.coordinator_url, "advertise_ip": options.coordinator_advertise_ip,
            "heartbeat_interval": options.coordinator_heartbeat_interval,
            "event_reporting": options.coordinator_event_reporting,
            "event_flush_interval": options.coordinator_event_flush_interval}  # fmt: skip
        return plain_json(found)
