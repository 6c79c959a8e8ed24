# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""HTTP servers with the manners of FastAPI behind uvicorn: headers, error bodies, access lines in the log."""

from __future__ import annotations

import json
import ssl
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from aiohttp import web

from .log import Log

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
KEEP_ALIVE_S = 5.0  # uvicorn's


def json_response(content: Any, status: int = 200) -> web.Response:
    """JSON as FastAPI writes it."""
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    return web.Response(body=text.encode(), status=status, content_type="application/json")


def plain_json(content: Any, status: int = 200) -> web.Response:
    """JSON with an indent; LMCache's internal API serves much of it as text."""
    return web.Response(body=json.dumps(content, indent=2).encode(), status=status, content_type="application/json")


def empty() -> web.Response:
    return web.Response()


async def body_of(request: web.Request) -> Any:
    """The JSON in a request.  Raises ValueError."""
    return json.loads(await request.read())


class Site:
    """One address.  ``logged``: access lines go to this log; ``vary``: vLLM's CORS header."""

    def __init__(self, log: Log | None = None, *, vary: bool = False):
        self._log, self._vary = log, vary
        self.app = web.Application(middlewares=[self._errors], client_max_size=64 << 20)
        self.app.on_response_prepare.append(self._prepared)
        self._runner: web.AppRunner | None = None

    def get(self, path: str, handler: Handler) -> None:
        self.app.router.add_get(path, handler, allow_head=False)

    def post(self, path: str, handler: Handler) -> None:
        self.app.router.add_post(path, handler)

    async def start(self, host: str, port: int, tls: tuple[str, str | None] | None = None) -> None:
        """Raises OSError when the address cannot be had."""
        context = None
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
        self._runner = web.AppRunner(self.app, access_log=None, keepalive_timeout=KEEP_ALIVE_S,
                                     shutdown_timeout=0.5)  # fmt: skip
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port, ssl_context=context).start()

    async def close(self) -> None:
        if self._runner:
            await self._runner.cleanup()

    @web.middleware
    async def _errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPNotFound:
            return json_response({"detail": "Not Found"}, 404)
        except web.HTTPMethodNotAllowed as exc:
            response = json_response({"detail": "Method Not Allowed"}, 405)
            response.headers["allow"] = ", ".join(sorted(exc.allowed_methods))
            return response

    async def _prepared(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Server"] = "uvicorn"
        if self._vary:
            response.headers["vary"] = "Origin"
        if self._log:
            peer = request.transport.get_extra_info("peername") if request.transport else None
            shown = f"{peer[0]}:{peer[1]}" if peer else "-"
            line = f"{request.method} {request.path_qs} HTTP/{request.version.major}.{request.version.minor}"
            self._log.say("access", peer=shown, request=line, status=response.status,
                          reason=HTTPStatus(response.status).phrase)  # fmt: skip
