# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A pair of fake engines and their controller on 127.0.0.1, for tests of the probe.

KV is modelled as sets of chunk hashes, so that hits follow from what was sent.  ``on[path]`` replaces what an
engine does for a path; it gets the request handler and its JSON payload.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CHUNK = 16


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        self._serve(None)

    def do_POST(self):
        self._serve(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _serve(self, payload):
        path = self.path.partition("?")[0]
        self.server.app.requests.append((path, payload, dict(self.headers)))
        try:
            self.server.app.answer(path, self, payload)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def reply(self, status, body, kind="application/json", **headers):
        body = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def start_stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def send(self, text):
        data = text if isinstance(text, bytes) else text.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def end_stream(self):
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_args):
        pass


class Server:
    """Serves ``answer(path, handler, payload)`` until closed."""

    def __init__(self):
        self.requests, self.on = [], {}
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.http.app = self
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, path, handler, payload):
        action = self.on.get(path)
        if action is None:
            handler.reply(404, {"error": {"message": "Not Found"}})
        else:
            action(handler, payload)

    def paths(self):
        return [path for path, _payload, _headers in self.requests]

    def close(self):
        self.http.shutdown()
        self.http.server_close()


class FakeEngine(Server):
    """Behaves like vLLM with LMCache as far as the probe can see; attributes switch faults on."""

    def __init__(self, name, cluster):
        super().__init__()
        self.name, self.cluster = name, cluster
        self.chunks = set()
        self.served = 0
        self.hits = 0
        self.prompt_tokens = 0
        self.lose = 0  # lookups that run into the time-out
        self.lose_s = 0.8
        self.cached_details = True
        self.refuse = ()  # payload fields answered with 400
        self.ignore_knockout = False
        self.corrupt = False
        self.max_model_len = 8192
        self.log = None
        self.on = {
            "/health": lambda h, _p: h.reply(200, b""),
            "/v1/models": lambda h, _p: h.reply(
                200, {"data": [{"id": "fake", "root": "/opt/fake", "max_model_len": self.max_model_len}]}
            ),
            "/version": lambda h, _p: h.reply(200, {"version": "0.32.0"}),
            "/tokenize": lambda h, p: h.reply(200, {"tokens": [1, *words_as_ids(p["prompt"])]}),
            "/metrics": self.metrics,
            "/v1/completions": self.complete,
        }

    def metrics(self, handler, _payload):
        handler.reply(
            200,
            "# TYPE vllm:request_success_total counter\n"
            f'vllm:request_success_total{{model_name="fake"}} {self.served}\n'
            f'vllm:prompt_tokens_total{{model_name="fake"}} {self.prompt_tokens}\n'
            f'vllm:external_prefix_cache_hits_total{{model_name="fake"}} {self.hits}\n'
            'vllm:num_requests_kv_fetch_by_stage{stage="waiting"} 0\n',
            "text/plain",
        )

    def lookup(self, payload, ids):
        """Tokens reused; stores what the request allows to be stored."""
        params = payload.get("kv_transfer_params") or {}
        tag = "" if self.ignore_knockout else params.get("lmcache.tag.kvproof", "")
        mine = [f"{tag}:{digest(ids[:end])}" for end in range(CHUNK, len(ids) + 1, CHUNK)]
        known = self.chunks | self.cluster.reachable(self)
        hit = 0
        while hit < len(mine) and mine[hit] in known:
            hit += 1
        if params.get("lmcache.skip_save") != "true" or self.ignore_knockout:
            self.chunks.update(mine)
        return hit * CHUNK

    def complete(self, handler, payload):
        for field in self.refuse:
            if payload.get(field) is not None and (field != "prompt" or isinstance(payload["prompt"], list)):
                handler.reply(400, {"error": {"message": f"{field} is not allowed here"}})
                return
        ids = payload["prompt"]
        ids = ids if isinstance(ids, list) else words_as_ids(ids)
        hit = self.lookup(payload, ids)
        if hit and self.lose > 0 and not payload.get("kv_transfer_params"):
            self.lose -= 1
            time.sleep(self.lose_s)
            hit = 0
        self.served += 1
        self.hits += hit
        self.prompt_tokens += len(ids)
        identity = "cmpl-" + handler.headers["X-Request-Id"]
        if self.log:
            with open(self.log, "a", encoding="utf-8") as log:
                log.write(
                    f"\x1b[32m[2026-11-24 02:24:29,175] LMCache INFO:\x1b[0m [req_id={identity}-0-1a2b3c4d] "
                    f"Stored {len(ids) // CHUNK * CHUNK} out of total {len(ids)} tokens. size: 0.1 GB, "
                    "cost 1 ms (cache_engine.py:1:lmcache.v1.cache_engine)\n"
                )
        count = payload["max_tokens"]
        value = -1.0 - int(digest(ids)[:4], 16) / 65536 - (0.5 if self.corrupt and hit else 0.0)
        usage = {"prompt_tokens": len(ids), "completion_tokens": count}
        if self.cached_details:
            usage["prompt_tokens_details"] = {"cached_tokens": hit}
        chunks = [
            {
                "id": identity,
                "choices": [
                    {
                        "text": f" w{index}",
                        "finish_reason": None,
                        "logprobs": {
                            "tokens": [f" w{index}"],
                            "token_logprobs": [value],
                            "top_logprobs": [{f" w{index}": value, "x": -5.0}],
                        }
                        if payload.get("logprobs")
                        else None,
                    }
                ],
            }
            for index in range(count)
        ]
        chunks[-1]["choices"][0]["finish_reason"] = "length"
        if not payload.get("stream"):
            merged = {"text": "".join(one["choices"][0]["text"] for one in chunks), "finish_reason": "length"}
            handler.reply(200, {"id": identity, "choices": [merged], "usage": usage})
            return
        handler.start_stream()
        for chunk in chunks:
            handler.send(f"data: {json.dumps(chunk)}\n\n")
        handler.send(f"data: {json.dumps({'id': identity, 'choices': [], 'usage': usage})}\n\ndata: [DONE]\n\n")
        handler.end_stream()


class FakeCluster:
    """prefill, decode, controller; ``p2p`` off cuts the engines from each other."""

    def __init__(self):
        self.p2p = True
        self.prefill, self.decode = FakeEngine("prefill", self), FakeEngine("decode", self)
        self.controller = Server()
        self.controller.on["/controller/workers"] = lambda h, _p: h.reply(200, {"workers": self.workers()})

    def reachable(self, engine):
        other = self.decode if engine is self.prefill else self.prefill
        return other.chunks if self.p2p else set()

    def workers(self):
        return [
            {
                "instance_id": engine.name,
                "worker_id": 0,
                "ip": "10.9.9.9",
                "port": 1,
                "peer_init_url": "10.9.9.9:1",
                "registration_time": 1.0,
                "last_heartbeat_time": 1.0,
                "key_count": len(engine.chunks),
            }
            for engine in (self.prefill, self.decode)
        ]

    def close(self):
        for server in (self.prefill, self.decode, self.controller):
            server.close()


def digest(ids):
    return hashlib.sha256(repr(ids).encode()).hexdigest()


def words_as_ids(text):
    """One id for every word, as a tokenizer would give it; different words may not collide."""
    return [2 + int(hashlib.sha256(word.encode()).hexdigest()[:10], 16) for word in text.split()]
