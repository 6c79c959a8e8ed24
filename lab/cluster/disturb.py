#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""What disturbs a probe from outside the cluster, until it is stopped.

    disturb.py traffic URL MODEL    other people's requests, each of them new
    disturb.py mirror HOST:PORT URL OTHER_URL    a proxy of the engine at URL that sends each prompt to OTHER_URL first
    disturb.py strip HOST:PORT URL  a proxy of the engine at URL that drops kv_transfer_params from what it is asked
    disturb.py listen silent=HOST:PORT full=HOST:PORT ...    sockets in others' way: silent ones take connections and
                                    never answer, full ones do not even take them, as where packets are dropped
    disturb.py cut-log LOG          empties the log once the probe is at its work, as logrotate's copytruncate does

Standard library only: it runs beside the real stack and beside the rehearsal.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PAUSE_S = 0.2  # between two requests
TOKENS = 600
PROBES = b"Reqid: cmpl-kvp-"
CUT_AFTER = 3  # of the probe's requests


def traffic(url: str, model: str) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    draw = random.Random(0)
    while True:
        prompt = [draw.randrange(300, 2000) for _ in range(TOKENS)]
        body = json.dumps({"model": model, "prompt": prompt, "max_tokens": 8}).encode()
        request = urllib.request.Request(f"{url}/v1/completions", body, {"Content-Type": "application/json"})
        try:
            opener.open(request, timeout=10).read()
        except (urllib.error.URLError, OSError):
            pass  # an engine that is gone gets no requests; it may come back
        time.sleep(PAUSE_S)


def mirror(place: str, url: str, other: str) -> None:
    def twice(relay: Relay, body: bytes) -> bytes:
        relay.ask(other, body).close()
        return body

    _relay(place, url, twice)


def strip(place: str, url: str) -> None:
    def without(relay: Relay, body: bytes) -> bytes:
        fields = json.loads(body)
        fields.pop("kv_transfer_params", None)
        return json.dumps(fields).encode()

    _relay(place, url, without)


class Relay(BaseHTTPRequestHandler):
    """A request that goes on to ``url``, a prompt as ``change`` makes it."""

    url: str
    change: Callable[[Relay, bytes], bytes]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer(type(self).change(self, body) if self.path == "/v1/completions" else body)

    def ask(self, base: str, body: bytes | None):
        kept = {name: self.headers[name] for name in ("Content-Type", "X-Request-Id") if self.headers[name]}
        try:
            return self.opener.open(urllib.request.Request(base + self.path, body, kept), timeout=30)
        except urllib.error.HTTPError as refusal:
            return refusal

    def _answer(self, body: bytes | None) -> None:
        with self.ask(self.url, body) as answer:
            text = answer.read()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers["Content-Type"] or "text/plain")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)


def _relay(place: str, url: str, change: Callable[[Relay, bytes], bytes]) -> None:
    host, _, port = place.rpartition(":")
    handler = type("Handler", (Relay,), {"url": url, "change": staticmethod(change)})
    ThreadingHTTPServer((host, int(port)), handler).serve_forever()


def listen(*places: str) -> None:
    held = []
    for place in places:
        how, _, where = place.partition("=")
        host, _, port = where.rpartition(":")
        held.append(socket.create_server((host, int(port)), backlog=0 if how == "full" else 100))
        for _ in range(3 if how == "full" else 0):  # Linux takes one more than the backlog says
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex((host, int(port)))
            held.append(client)
    print("listening", flush=True)
    signal.pause()


def cut_log(log: str) -> None:
    while Path(log).read_bytes().count(PROBES) < CUT_AFTER:
        time.sleep(0.02)
    os.truncate(log, 0)


def main() -> int:
    actions = {"traffic": traffic, "cut-log": cut_log, "mirror": mirror, "strip": strip, "listen": listen}
    if sys.argv[1:2] and sys.argv[1] in actions:
        try:
            actions[sys.argv[1]](*sys.argv[2:])
            return 0
        except TypeError:
            pass  # arguments are missing
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
