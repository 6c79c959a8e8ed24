# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""The controller's HTTP answers.  There is no GET /health: asking for it is a wrong method."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from .internal_http import text_json
from .log import Log
from .registry import Registry
from .web import Site, body_of, json_response

GAUGES = {
    "kv_pool_keys_count": "The number of keys in the KV pool",
    "registered_workers_count": "The total number of registered workers",
    "pull_socket_message_count": "The total number of messages received on PULL socket",
    "reply_socket_message_count": "The total number of messages received on REPLY socket",
    "pull_socket_has_pending": "Whether PULL socket has pending messages (1=yes, 0=no)",
    "reply_socket_has_pending": "Whether REPLY socket has pending messages (1=yes, 0=no)",
    "pull_socket_active_requests": "Number of requests being processed from PULL socket",
    "reply_socket_active_requests": "Number of requests being processed from REPLY socket",
    "kv_op_seq_discontinuity_count": "Total count of KV operation sequence number discontinuities",
    "full_sync_workers_syncing": "Number of workers currently in full sync",
    "full_sync_workers_completed": "Number of workers that have completed full sync",
    "full_sync_global_progress": "Global full sync progress (0.0 to 1.0)",
    "full_sync_missing_batches_total": "Total count of missing batches across all syncing workers",
}


class Unprocessable(Exception):
    """A request FastAPI answers with 422."""

    def __init__(self, kind: str, where: list[str], message: str, given: Any):
        super().__init__(message)
        self.body = {"detail": [{"type": kind, "loc": where, "msg": message, "input": given}]}


class ControllerSite(Site):
    """HTTP server of one controller.

    ``messages``: how many came to the pull and reply ports so far.  ``lookup``: a prompt's tokens → instance →
    (location, tokens).  ``health``: an instance → error code by worker.
    """

    def __init__(
        self,
        log: Log,
        env: Mapping[str, str],
        *,
        registry: Registry,
        messages: Mapping[str, int],
        lookup: Callable[[list[int]], dict[str, tuple[str, int]]],
        health: Callable[[str], Awaitable[dict[str, int]]],
    ):
        super().__init__(log)
        self._env, self._registry, self._messages = env, registry, messages
        self._find, self._worker_health = lookup, health
        self._process = CollectorRegistry()
        for collector in (GCCollector, PlatformCollector, ProcessCollector):
            collector(registry=self._process)
        self.app.middlewares.append(self._unprocessable)
        self.get("/controller/workers", self._workers)
        self.get("/controller/key-stats", self._key_stats)
        self.get("/metrics", self._metrics)
        self.get("/env", self._environment)
        self.get("/", self._dashboard)
        self.post("/query_worker_info", self._query_worker_info)
        self.post("/query_instance", self._query_instance)
        self.post("/health", self._health)
        self.post("/lookup", self._lookup)

    @web.middleware
    async def _unprocessable(self, request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            return await handler(request)
        except Unprocessable as exc:
            return json_response(exc.body, 422)

    @staticmethod
    async def _fields(request: web.Request, *names: str) -> dict[str, Any]:
        try:
            body = await body_of(request)
        except ValueError:
            raise Unprocessable("json_invalid", ["body", "0"], "JSON decode error", {}) from None
        for name in names:
            if name not in body:
                raise Unprocessable("missing", ["body", name], "Field required", body)
        return body

    async def _workers(self, request: web.Request) -> web.Response:
        registry, query = self._registry, request.query
        instance, worker = query.get("instance_id"), query.get("worker_id")
        if worker is not None and not worker.lstrip("-").isdigit():
            raise Unprocessable("int_parsing", ["query", "worker_id"], "Input should be a valid integer, unable to "
                                "parse string as an integer", worker)  # fmt: skip
        infos = registry.infos(instance)
        if instance is not None and worker is not None:
            one = [info for info in infos if info["worker_id"] == int(worker)]
            if not one:
                return json_response({"detail": f"Worker ({instance}, {int(worker)}) not found"}, 404)
            return json_response(one[0])
        if instance is not None and not infos:
            return json_response({"detail": f"No workers found for instance {instance}"}, 404)
        return json_response({"workers": infos, "total_count": len(infos)})

    async def _key_stats(self, _request: web.Request) -> web.Response:
        instances = [{"instance_id": name, "key_count": sum(worker.key_count() for worker in workers.values()),
                      "worker_count": len(workers)}
                     for name, workers in self._registry.instances.items()]  # fmt: skip
        return json_response({
            "total_key_count": sum(one["key_count"] for one in instances), "total_instance_count": len(instances),
            "total_worker_count": sum(one["worker_count"] for one in instances), "instances": instances,
        })  # fmt: skip

    async def _query_worker_info(self, request: web.Request) -> web.Response:
        body = await self._fields(request, "instance_id")
        name = None if body["instance_id"] == "all" else body["instance_id"]
        infos = self._registry.infos(name, keys=False)
        if name is not None and not infos:
            self._log.say("instance_not_registered", instance=name)
        wanted = body.get("worker_ids")
        infos = [info for info in infos if not wanted or info["worker_id"] in wanted]
        return json_response({"event_id": f"QueryWorkerInfo{uuid.uuid4()}", "worker_infos": infos})

    async def _query_instance(self, request: web.Request) -> web.Response:
        body = await self._fields(request, "event_id", "ip")
        found = [info["instance_id"] for info in self._registry.infos() if info["ip"] == body["ip"]]
        if not found:
            return json_response({"detail": "1 validation error for QueryInstResponse\nres\n  Input should be a valid "
                                  "string [type=string_type, input_value=None, input_type=NoneType]"}, 500)  # fmt: skip
        return json_response({"event_id": f"QueryInst{uuid.uuid4()}", "res": found[0]})

    async def _health(self, request: web.Request) -> web.Response:
        body = await self._fields(request, "instance_id")
        codes = await self._worker_health(body["instance_id"])
        return json_response({"event_id": f"health{uuid.uuid4()}", "error_codes": codes})

    async def _lookup(self, request: web.Request) -> web.Response:
        body = await self._fields(request, "tokens")
        layout = self._find(body["tokens"])
        return json_response({"event_id": f"Lookup{uuid.uuid4()}", "layout_info": layout})

    async def _environment(self, _request: web.Request) -> web.Response:
        return text_json(dict(sorted(self._env.items())))

    async def _dashboard(self, _request: web.Request) -> web.Response:
        return web.Response(text="<!DOCTYPE html>\n<title>LMCache Controller Dashboard</title>\n",
                            content_type="text/html")  # fmt: skip

    def collect(self) -> Iterable[Metric]:
        """What prometheus_client asks of a registry."""
        yield from self._process.collect()
        messages, infos = self._messages, self._registry.infos()
        values = {"kv_pool_keys_count": sum(info["key_count"] for info in infos),
                  "registered_workers_count": len(infos), "pull_socket_message_count": messages["pull"],
                  "reply_socket_message_count": messages["reply"], "full_sync_global_progress": 1.0}  # fmt: skip
        for name, documentation in GAUGES.items():
            family = GaugeMetricFamily(f"lmcache:cache_controller_{name}", documentation, labels=["role"])
            family.add_metric(["controller"], values.get(name, 0.0))
            yield family

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self), headers={"Content-Type": "text/plain; charset=utf-8"})
