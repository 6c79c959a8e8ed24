# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers of servers that misbehave, by path and name: functions that give the bytes of a whole HTTP answer in pieces.

python -m lab.hostile.answers PATH NAME [PORT]     serves that answer to everybody, on 127.0.0.1
"""

from __future__ import annotations

import itertools
import json
import socketserver
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

Pieces = Iterator[bytes]
SILENCE_S = 60.0
MB = 1 << 20
ESCAPES = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202e\u2066red"
ODD_NUMBERS = {"zero": 0, "negative": -1, "half": 0.5, "1e9": 10**9, "1e300": 1e300, "of 400 digits": 10**400}
ODD_VALUES = {**ODD_NUMBERS, "null": None, "a list": [1, [2]], "text": "x", "an object": {"a": 1}, "escapes": ESCAPES}


def head(status: int = 200, kind: str = "application/json", **fields: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def whole(body: Any, status: int = 200, kind: str = "application/json", **fields: str) -> Pieces:
    """An answer in one piece: JSON, or bytes as they are."""
    yield head(status, kind, **fields) + (body if isinstance(body, bytes) else json.dumps(body).encode())


def text(words: str) -> Pieces:
    return whole(words.encode(), kind="text/plain")


def repeated(piece: bytes, times: int | None = None, pause: float = 0.0, before: bytes = b"") -> Pieces:
    """The same bytes again and again, without end where no number is given."""
    yield head() + before
    for _ in itertools.repeat(None) if times is None else range(times):
        yield piece
        if pause:
            time.sleep(pause)


def silent(before: bytes = b"") -> Pieces:
    yield before
    time.sleep(SILENCE_S)


def event(choice: Any = None, **more: Any) -> bytes:
    chunk = {"id": "cmpl-1", "choices": [{"text": " a", "finish_reason": None, **(choice or {})}], **more}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def stream(*events: bytes, done: bool = True) -> Pieces:
    yield head(kind="text/event-stream") + b"".join(events) + b"data: [DONE]\n\n" * done


def logprobs(**parts: Any) -> dict[str, Any]:
    return {"logprobs": {"tokens": [" a"], "token_logprobs": [-0.5], "top_logprobs": [{" a": -0.5}], **parts}}


USAGE = {"prompt_tokens": 80, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 64}}
MANY = {f"t{number}": -float(number) for number in range(20000)}
DEEP = b"[" * 100000
LONG = b"y" * MB
BROKEN_URLS = ("", ":", "x", "[::", "http://", "10.0.0.1:99999", "10.0.0.1:x", "//@:1", ESCAPES, "\0:1")
URLS = (*BROKEN_URLS, "a" * 60000, ":" * 60000)
SETTINGS = ("chunk_size", "min_retrieve_tokens", "lookup_timeout_ms", "max_local_cpu_size", "lmcache_instance_id")
META = {"kv_dtype": "torch.bfloat16", "kv_shape": [4, 2, 16, 4, 64]}


def _any_server() -> dict[str, Callable[[], Pieces]]:
    """What may come from whatever path."""
    return {
        "nothing": lambda: iter(()),
        "silence": silent,
        "half a head, then silence": partial(silent, b"HTTP/1.1 200 OK\r\nContent-"),
        "a head without end": lambda: itertools.chain([b"HTTP/1.1 200 OK\r\n"], itertools.repeat(b"X-A: b\r\n" * 1000)),
        "no HTTP": lambda: iter([b"SSH-2.0-OpenSSH_9.6\r\n" * 10]),
        "an empty body": lambda: whole(b""),
        "half of what it promises": lambda: whole(b"{", Content_Length="1000"),
        "a length that is none": lambda: whole(b"{}", Content_Length="-5"),
        "an odd encoding": lambda: whole(b"\x1f\x8b\x08\x00junk", Content_Encoding="gzip"),
        "odd chunks": lambda: whole(b"zz\r\n{}\r\n", Transfer_Encoding="chunked"),
        "a redirect": lambda: whole(
            b"", status=307, Location="http://127.0.0.1:9/" + ESCAPES.encode("ascii", "replace").decode()
        ),
        "an HTML page": lambda: whole(b"<!doctype html><html>", kind="text/html"),
        "no UTF-8": lambda: whole(b"\xff\xfe\x00{"),
        "deep JSON": lambda: whole(DEEP),
        "a number": lambda: whole(5),
        "null": lambda: whole(None),
        "a list": lambda: whole([1, {"a": 2}]),
        "NaN": lambda: whole(b'{"data": NaN, "tokens": Infinity, "workers": -Infinity}'),
        "bytes without end": partial(repeated, b"x" * 65536),
        "a slow drip": partial(repeated, b"x", pause=0.2),
        "an error of a megabyte": lambda: whole({"error": {"message": "x" * MB}}, status=500),
        "an error with escapes": lambda: whole({"error": {"message": ESCAPES, "code": ESCAPES}}, status=500),
        "a refusal with a deep body": lambda: whole(DEEP, status=400),
    }


def _completions() -> dict[str, Callable[[], Pieces]]:
    odd = {
        f"{field} is {name}": partial(stream, event({field: value}), event(usage=USAGE))
        for field in ("text", "finish_reason", "logprobs")
        for name, value in ODD_VALUES.items()
    }
    odd |= {
        f"{field} is {name}": partial(stream, event(logprobs(**{field: value}), usage=USAGE))
        for field in ("tokens", "token_logprobs", "top_logprobs")
        for name, value in ODD_VALUES.items()
    }
    odd |= {
        f"{field} is {name}": partial(stream, event({"finish_reason": "length"}, usage={**USAGE, field: value}))
        for field in USAGE
        for name, value in ODD_VALUES.items()
    }
    return {
        **odd,
        "20,000 top_logprobs a token": partial(repeated, event(logprobs(top_logprobs=[MANY])), 60),
        "20,000 tokens in one event": lambda: stream(event(logprobs(tokens=[" a"] * 20000)), event(usage=USAGE)),
        "tokens without end": partial(repeated, event()),
        "tokens without end, slowly": partial(repeated, event(), pause=0.2),
        "a finish_reason of 10 MB": lambda: stream(event({"finish_reason": "x" * 10 * MB}, usage=USAGE)),
        "an id of 10 MB": lambda: stream(event(usage=USAGE).replace(b"cmpl-1", b"x" * 10 * MB)),
        "a text of 10 MB": lambda: stream(event({"text": "x" * 10 * MB}, usage=USAGE)),
        "one event without end": partial(repeated, b"x" * 65536, before=b"data: "),
        "comments without end": partial(repeated, b": ping\n\n" * 1000),
        "silence after a token": partial(silent, head() + event()),
        "an end without a token": stream,
        "a stream that is cut": lambda: stream(event(), done=False),
        "an error in the stream": lambda: stream(event(), b'data: {"error": {"message": "%s"}}\n\n' % LONG),
        "a deep event": lambda: stream(b"data: " + DEEP + b"\n\n"),
        "events that are no objects": lambda: stream(b"data: 5\n\n", b"data: null\n\n", b'data: "x"\n\n'),
        "choices that are none": lambda: stream(b'data: {"choices": [5]}\n\n', b'data: {"choices": {"a": 1}}\n\n'),
    }  # fmt: skip


def _workers(**fields: Any) -> dict[str, Any]:
    worker = {"instance_id": "prefill", "worker_id": 0, "ip": "10.9.9.9", "port": 1, "peer_init_url": "10.9.9.9:1"}
    return {"workers": [{**worker, "key_count": 0, **fields}], "total_count": 1}


def _controller() -> dict[str, Callable[[], Pieces]]:
    return {
        **{f"peer_init_url {number}": partial(whole, _workers(peer_init_url=url)) for number, url in enumerate(URLS)},
        **{
            f"{field} is {name}": partial(whole, _workers(**{field: value}))
            for field in ("key_count", "instance_id", "peer_init_url")
            for name, value in ODD_VALUES.items()
        },
        "five million empty workers": lambda: whole(b'{"workers": [' + b"{}," * 5_000_000 + b"{}]}"),
        "ten thousand workers": lambda: whole({"workers": _workers()["workers"] * 10000}),
        "workers that are numbers": lambda: whole({"workers": [1, 2]}),
    }


def _settings(names: tuple[str, ...]) -> dict[str, Callable[[], Pieces]]:
    return {f"{key} is {name}": partial(whole, {key: value}) for key in names for name, value in ODD_VALUES.items()}


ANSWERS: dict[str, dict[str, Callable[[], Pieces]]] = {
    "/v1/completions": {**_any_server(), **_completions()},
    "/v1/models": {
        **_any_server(),
        **{
            f"max_model_len is {name}": partial(whole, {"data": [{"id": "fake", "max_model_len": value}]})
            for name, value in ODD_VALUES.items()
        },
        "a hundred thousand models": lambda: whole({"data": [{"id": f"m{number}"} for number in range(100000)]}),
        "a name of a megabyte": lambda: whole({"data": [{"id": "m" * MB}]}),
    },
    "/tokenize": {
        **_any_server(),
        "a million tokens": lambda: whole({"tokens": [1, 2] * 500000}),
        "one token": lambda: whole({"tokens": [1]}),
        "the same token": lambda: whole({"tokens": [7] * 500}),
        "numbers that are none": lambda: whole({"tokens": [1.5, "a", None] * 200}),
        "numbers of 400 digits": lambda: whole({"tokens": [10**400] * 500}),
    },
    "/metrics": {
        **_any_server(),
        "a value of 400 digits": lambda: text(f"vllm:prompt_tokens_total {10**400}\n"),
        "a value that is none": lambda: text("vllm:prompt_tokens_total maybe\nvllm:prompt_tokens_total 1\n"),
        "labels without end": lambda: text("vllm:prompt_tokens_total{" + 'a="b",' * 200000 + "} 1\n"),
        "a hundred thousand sources": lambda: text(
            "".join(f'vllm:prompt_tokens_by_source_total{{source="s{number}"}} 1\n' for number in range(100000))
        ),
    },
    "/controller/workers": {**_any_server(), **_controller()},
    "/conf": {
        **_any_server(),
        **_settings(
            ("chunk_size", "min_retrieve_tokens", "lookup_timeout_ms", "max_local_cpu_size", "lmcache_instance_id")
        ),
        "a remote_url of 60,000 colons": lambda: whole({"remote_url": ":" * 60000 + "@"}),
    },
    "/meta": {
        **_any_server(),
        **{
            f"{key} is {name}": partial(
                whole, {"kv_dtype": "torch.bfloat16", "kv_shape": [4, 2, 16, 4, 64], key: value}
            )
            for key in ("kv_shape", "kv_dtype", "world_size")
            for name, value in ODD_VALUES.items()
        },
        "a huge kv_shape": lambda: whole(
            {"kv_dtype": "torch.bfloat16", "kv_shape": [10**300] * 5, "world_size": 10**400}
        ),
    },
}


def main() -> None:
    path, name = sys.argv[1:3]
    answer = ANSWERS[path][name]

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            for piece in answer():
                self.request.sendall(piece)

    with socketserver.ThreadingTCPServer(("127.0.0.1", int((sys.argv[3:] or ["8000"])[0])), Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
