#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""The smallest router of a cluster of two engines, and routers that go wrong.

    router.py HOST:PORT MODE PREFILL_URL DECODE_URL

    right     the prompt to the prefill engine for one token, then to the decode engine with the
              kv_transfer_params that came back (NixlConnector)
    whole     never disaggregates: every prompt to the decode engine alone
    half      as right and as whole in turn
    drops     asks both, and does not hand kv_transfer_params on
    changes   cuts the prompt for the decode engine
    mixes     sends the prefill engine the prompt's tokens in another order
    turns     one engine after the other, as a plain router
    one       the first engine each time
    shortens  as turns, with the prompt cut for all
    text      as right, and takes prompts as text alone
    fails     503 to everybody

Standard library only: it runs beside the real stack and beside the rehearsal.
"""

from __future__ import annotations

import itertools
import json
import sys
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TIMEOUT_S = 60
CUT = 8  # tokens or characters that are lost
KEEP = {
    "do_remote_decode": True,
    "do_remote_prefill": False,
    "remote_engine_id": None,
    "remote_block_ids": None,
    "remote_host": None,
    "remote_port": None,
}
MODES = ("right", "whole", "half", "drops", "changes", "mixes", "turns", "one", "shortens", "text", "fails")


class Router(ThreadingHTTPServer):
    """Serves until it is stopped.  prefill, decode: URLs of the engines."""

    daemon_threads = True

    def __init__(self, place: tuple[str, int], mode: str, prefill: str, decode: str):
        super().__init__(place, Handler)
        self.mode, self.prefill, self.decode = mode, prefill, decode
        self.turn = itertools.cycle((prefill, decode))
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def way(self, body: dict[str, Any], headers: dict[str, str]) -> tuple[str, dict[str, Any]]:
        """The engine that answers, and what it is sent."""
        cut = {**body, "prompt": body["prompt"][:-CUT]}
        if self.mode == "one":
            return self.prefill, body
        if self.mode in ("turns", "shortens"):
            return next(self.turn), cut if self.mode == "shortens" else body
        if self.mode == "whole" or (self.mode == "half" and next(self.turn) == self.prefill):
            return self.decode, body
        first = {name: value for name, value in body.items() if name not in ("stream", "stream_options")}
        if self.mode == "mixes":
            first["prompt"] = body["prompt"][::-1]
        with self.ask(self.prefill, {**first, "max_tokens": 1, "kv_transfer_params": KEEP}, headers) as answer:
            offer = json.load(answer).get("kv_transfer_params")
        if self.mode == "drops":
            return self.decode, body
        return self.decode, {**(cut if self.mode == "changes" else body), "kv_transfer_params": offer}

    def ask(self, url: str, body: dict[str, Any], headers: dict[str, str]) -> Any:
        data = json.dumps(body).encode()
        return self.opener.open(urllib.request.Request(f"{url}/v1/completions", data, headers), timeout=TIMEOUT_S)


class Handler(BaseHTTPRequestHandler):
    server: Router

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        headers = {name: self.headers[name] for name in ("Content-Type", "X-Request-Id") if self.headers[name]}
        if self.server.mode == "fails" or (self.server.mode == "text" and not isinstance(body["prompt"], str)):
            self.reply(503 if self.server.mode == "fails" else 422, b'{"error": {"message": "not here"}}')
            return
        try:
            with self.server.ask(*self.server.way(body, headers), headers) as answer:
                self.reply(answer.status, answer.read(), answer.headers["Content-Type"])
        except urllib.error.HTTPError as refusal:
            self.reply(refusal.code, refusal.read())

    def reply(self, status: int, text: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_args: Any) -> None:
        pass


def main() -> int:
    if len(sys.argv) != 5 or sys.argv[2] not in MODES:
        print(__doc__, file=sys.stderr)
        return 2
    host, _, port = sys.argv[1].rpartition(":")
    Router((host, int(port)), *sys.argv[2:]).serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
