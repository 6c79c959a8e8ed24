# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""LMCache's internal API: one server for the scheduler and one for every rank, one port above another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from .cache import CacheRank
from .host import Host
from .lmconfig import LMCacheConfig
from .settings import COMMIT
from .web import Site, json_response, plain_json

NOT_CONFIGURED = "LMCache engine not configured."


def text_json(content: Any, status: int = 200) -> web.Response:
    """JSON served as text."""
    return web.Response(text=json.dumps(content, indent=2), status=status)


class InternalSite(Site):
    """``rank`` None: the scheduler's, which has no engine."""

    def __init__(self, config: LMCacheConfig, rank: CacheRank | None, *, host: Host, meta: dict[str, Any],
                 inference: dict[str, Any]):  # fmt: skip
        super().__init__()
        self._config, self._rank, self._meta = config, rank, meta
        self._inference, self._env = inference, host.env
        told = host.parameters
        self._told = {"lmc_version": told.lmcache_version, "version": told.lmcache_build, "commit_id": COMMIT}
        self.get("/conf", self._conf)
        self.get("/meta", self._describe)
        self.get("/backends", self._backends)
        self.get("/bypass/list", self._bypass)
        self.get("/freeze/status", self._freeze)
        self.get("/hot_cache/status", self._hot_cache)
        self.get("/lookup/info", self._lookup)
        self.get("/inference_info", self._inference_info)
        self.get("/inference_version", self._inference_version)
        self.get("/env", self._environment)
        for name in self._told:
            self.get("/" + name, self._versions)

    def _named(self, request: web.Request, values: Mapping[str, Any]) -> dict[str, Any]:
        names = request.query.get("names")
        if names is None:
            return dict(values)
        return {name: values[name] for name in names.split(",") if name in values}

    async def _conf(self, request: web.Request) -> web.Response:
        return text_json(self._named(request, self._config.values))

    async def _describe(self, request: web.Request) -> web.Response:
        return text_json(self._named(request, self._meta))

    @property
    def _has_storage(self) -> bool:
        return self._rank is not None and self._rank.state == "ok"

    async def _backends(self, _request: web.Request) -> web.Response:
        if not self._has_storage:
            return json_response({"error": "/backends API is unavailable", "message": NOT_CONFIGURED}, 503)
        kinds = {"PDBackend": self._rank.pd.kind} if self._rank.pd else {}
        return json_response({name: kinds.get(name, name) for name in self._rank.backends()})

    async def _bypass(self, _request: web.Request) -> web.Response:
        if not self._has_storage:
            message = NOT_CONFIGURED if self._rank is None else "StorageManager not initialized."
            return json_response({"error": "Bypass API is unavailable", "message": message}, 503)
        return json_response({"status": "success", "bypassed_backends": [], "all_backends": self._rank.backends()})

    async def _freeze(self, _request: web.Request) -> web.Response:
        if self._rank is None:
            return plain_json({"error": "/freeze/status API is unavailable", "message": NOT_CONFIGURED}, 503)
        return plain_json({"status": "success", "freeze": False, "message": "Freeze mode is disabled"})

    async def _hot_cache(self, _request: web.Request) -> web.Response:
        if self._rank is None:
            return plain_json({"error": "hot_cache API is unavailable", "message": NOT_CONFIGURED}, 503)
        on = self._has_storage and self._rank.pool.keeps
        message = f"Hot cache is {'enabled' if on else 'disabled'}"
        return plain_json({"status": "success", "hot_cache": on, "message": message})

    async def _lookup(self, _request: web.Request) -> web.Response:
        kind = "LMCacheAsyncLookup" if self._config["enable_async_loading"] else "LMCacheLookup"
        if self._rank is None:
            return plain_json({"client": kind + "Client", "server": "None"})
        return plain_json({"client": "None", "server": kind + "Server"})

    async def _inference_info(self, _request: web.Request) -> web.Response:
        return plain_json(self._inference)

    async def _inference_version(self, _request: web.Request) -> web.Response:
        return plain_json({"error": "Failed to get inference version", "message":
                           "'LMCacheManager' object has no attribute 'get_inference_version'"}, 500)  # fmt: skip

    async def _environment(self, _request: web.Request) -> web.Response:
        return text_json(dict(sorted(self._env.items())))

    async def _versions(self, request: web.Request) -> web.Response:
        return json_response(self._told[request.path.strip("/")])
