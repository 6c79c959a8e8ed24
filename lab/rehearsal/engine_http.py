# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""vLLM's HTTP surface: completions, models, tokenize, health, version, metrics."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from typing import Any

from aiohttp import web

from . import completions
from .completions import Answer, Completion, Refusal
from .connector import EngineDead
from .host import Host
from .scheduler import Scheduler
from .tokenizer import Tokenizer
from .web import Handler, Site, body_of, empty, json_response

GUARDED = ("/v1", "/v2", "/inference", "/cohere")
DEAD = "EngineCore encountered an issue. See stack trace (above) for the root cause."
UNCOUNTED = ("/metrics", "/health", "/load", "/ping", "/version", "/server_info")


class EngineSite(Site):
    """The API server of one engine."""

    def __init__(self, host: Host, scheduler: Scheduler, tokenizer: Tokenizer, die: Callable[[EngineDead], None]):
        super().__init__(host.log, vary=True)
        self._log, self._die = host.log, die
        self._version_told = host.parameters.vllm_version
        self._options, self._scheduler, self._page = host.options, scheduler, host.page
        self._tokenizer, self._vocabulary = tokenizer, host.shape.vocabulary
        self._started = int(time.time())
        self.app.middlewares.insert(0, self._counted)
        self.app.middlewares.append(self._guarded)
        self.get("/health", self._ok)
        self.get("/ping", self._ok)
        self.post("/ping", self._ok)
        self.get("/load", self._load)
        self.get("/version", self._version)
        self.get("/metrics", self._metrics)
        self.get("/v1/models", self._models)
        self.post("/tokenize", self._tokenize)
        self.post("/detokenize", self._detokenize)
        self.post("/v1/completions", self._completions)
        self.post("/v1/chat/completions", self._chat)

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """API key, and what is refused in the shape of an error object."""
        if self._options.api_keys and request.path.startswith(GUARDED):
            scheme, _, key = request.headers.get("Authorization", "").partition(" ")
            known = any(secrets.compare_digest(key.encode(), one.encode()) for one in self._options.api_keys)
            if scheme.lower() != "bearer" or not known:
                return json_response({"error": "Unauthorized"}, 401)
        try:
            return await handler(request)
        except Refusal as refusal:
            return json_response(refusal.body, refusal.status)
        except EngineDead as cause:
            self._die(cause)
            return json_response(Refusal(DEAD, 500, "InternalServerError").body, 500)

    @web.middleware
    async def _counted(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        began = time.perf_counter()
        response = await handler(request)
        resource = request.match_info.route.resource
        path = resource.canonical if resource else "none"
        if path not in UNCOUNTED:
            add, labels = self._page.add, {"handler": path, "method": request.method}
            add("http_requests", **labels, status=f"{response.status // 100}xx")
            add("http_request_size_bytes", request.content_length or 0, handler=path)
            add("http_response_size_bytes", response.content_length or 0, handler=path)
            for name in ("http_request_duration_highr_seconds", "http_request_duration_seconds"):
                self._page.observe(name, time.perf_counter() - began, **({} if "highr" in name else labels))
        return response

    async def _ok(self, _request: web.Request) -> web.Response:
        return empty()

    async def _load(self, _request: web.Request) -> web.Response:
        return json_response({"server_load": 0})

    async def _version(self, _request: web.Request) -> web.Response:
        return json_response({"version": self._version_told})

    async def _metrics(self, _request: web.Request) -> web.Response:
        self._page.put("vllm:num_requests_running", self._scheduler.running)
        self._page.put("vllm:num_requests_waiting", self._scheduler.waiting)
        return web.Response(body=self._page.text(), headers={
            "Content-Type": "text/plain; version=1.0.0; charset=utf-8"})  # fmt: skip

    async def _models(self, _request: web.Request) -> web.Response:
        cards = [{
            "id": name, "object": "model", "created": self._started, "owned_by": "vllm",
            "root": self._options.model, "parent": None, "max_model_len": self._options.max_model_len,
            "permission": [{
                "id": f"modelperm-{secrets.token_hex(8)}", "object": "model_permission", "created": self._started,
                "allow_create_engine": False, "allow_sampling": True, "allow_logprobs": True,
                "allow_search_indices": False, "allow_view": True, "allow_fine_tuning": False,
                "organization": "*", "group": None, "is_blocking": False}],
        } for name in self._options.served]  # fmt: skip
        return json_response({"object": "list", "data": cards})

    async def _body(self, request: web.Request) -> dict[str, Any]:
        try:
            body = await body_of(request)
        except ValueError:
            raise completions.invalid([{
                "type": "json_invalid", "loc": "body.0", "msg": "JSON decode error",
                "input": "<dict of 0 items>", "ctx": {"error": "Expecting value"}}]) from None  # fmt: skip
        if not isinstance(body, dict):
            raise completions.invalid([{"type": "dict_type", "loc": "body",
                                        "msg": "Input should be a valid dictionary", "input": body}])  # fmt: skip
        return body

    async def _tokenize(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        if not isinstance(body.get("prompt"), str):
            raise completions.invalid([completions.missing(name, body) for name in ("prompt", "messages")])
        completions.check_model(body, self._options)
        ids = self._tokenizer.encode(body["prompt"])
        strings = [self._tokenizer.decode([one]) for one in ids] if body.get("return_token_strs") else None
        return json_response({"count": len(ids), "max_model_len": self._options.max_model_len, "tokens": ids,
                              "token_strs": strings})  # fmt: skip

    async def _detokenize(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        if not isinstance(body.get("tokens"), list):
            raise completions.invalid([completions.missing("tokens", body)])
        completions.check_model(body, self._options)
        return json_response({"prompt": self._tokenizer.decode(body["tokens"])})

    async def _chat(self, request: web.Request) -> web.Response:
        await self._body(request)
        raise Refusal("As of transformers v4.44, default chat template is no longer allowed, so you must provide a "
                      "chat template if the tokenizer does not define one.")  # fmt: skip

    # ---- completions

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        body = await self._body(request)
        completion = completions.parse(body, request.headers.get("X-Request-Id"), self._options, self._tokenizer,
                                       self._vocabulary)  # fmt: skip
        completions.name_requests(completion)
        answers = [Answer(completion, index, self._tokenizer) for index in range(len(completion.requests))]
        if completion.stream:
            return await self._stream(request, completion, answers)
        for answer, one in zip(answers, completion.requests):
            async for choice in self._scheduler.generate(one):
                answer.take(choice, one)
            if one.failed:
                self._log.say("request_failed", id=completion.id)
                raise Refusal("Internal server error", 500, "InternalServerError")
        return json_response(completions.whole(completion, answers, self._options))

    async def _stream(self, request: web.Request, completion: Completion, answers: list[Answer]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        try:
            for answer, one in zip(answers, completion.requests):
                async for choice in self._scheduler.generate(one):
                    answer.take(choice, one)
                    last = answer.finish and answer is answers[-1] and not completion.include_usage
                    more = {"system_fingerprint": completions.FINGERPRINT} if last else {}
                    await self._send(response, completions.envelope(completion, [answer.delta()], **more))
                if one.failed:
                    error = Refusal("Internal server error", 500, "InternalServerError")
                    await self._send(response, error.body)
                    break
            else:
                if completion.include_usage:
                    await self._send(response, completions.envelope(
                        completion, [], usage=completions.usage(completion, answers, self._options, True),
                        system_fingerprint=completions.FINGERPRINT))  # fmt: skip
            await response.write(b"data: [DONE]\n\n")
        except ConnectionError:
            pass  # the client went away
        return response

    @staticmethod
    async def _send(response: web.StreamResponse, event: dict[str, Any]) -> None:
        text = json.dumps(event, separators=(",", ":"), ensure_ascii=False)
        await response.write(f"data: {text}\n\n".encode())
