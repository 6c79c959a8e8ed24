# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""The HTTP requests whose answers must look alike, and what "alike" means: status, type, shape, error texts."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

import requests

IDS = list(range(300, 330))  # words in either vocabulary
COMPLETIONS = "/v1/completions"
#: objects whose keys are data, not shape
OPEN = {"top_logprobs", "prompt_logprobs", "layout_info", "error_codes", "env",
        "non_cuda_context_meta", "l1_keys_by_instance"}  # fmt: skip


@dataclass
class Call:
    """One request.  ``server``: engine, scheduler, worker (internal API) or controller."""

    name: str
    server: str
    method: str
    path: str
    body: Any = None
    raw: bytes | None = None
    texts: bool = True  # compare error texts, too
    headers: dict[str, str] = field(default_factory=dict)


def _completion(name: str, **changes: Any) -> Call:
    body = {"model": "$model", "prompt": IDS, "max_tokens": 2, "temperature": 0, **changes}
    return Call(name, "engine", "POST", COMPLETIONS, {key: value for key, value in body.items() if value is not ...})


ENGINE = [
    Call("health", "engine", "GET", "/health"),
    Call("health by POST", "engine", "POST", "/health"),
    Call("health by HEAD", "engine", "HEAD", "/health"),
    Call("ping", "engine", "GET", "/ping"),
    Call("load", "engine", "GET", "/load"),
    Call("version", "engine", "GET", "/version"),
    Call("models", "engine", "GET", "/v1/models"),
    Call("no such page", "engine", "GET", "/nope"),
    Call("completions by GET", "engine", "GET", COMPLETIONS),
    Call("reset is off", "engine", "POST", "/reset_prefix_cache"),
    Call("server_info is off", "engine", "GET", "/server_info"),
    Call("tokenize", "engine", "POST", "/tokenize", {"model": "$model", "prompt": "apple river | stone"}),
    Call("tokenize, strings", "engine", "POST", "/tokenize", {"prompt": "apple", "return_token_strs": True}),
    Call("tokenize, other model", "engine", "POST", "/tokenize", {"model": "nope", "prompt": "apple"}),
    Call("tokenize, nothing", "engine", "POST", "/tokenize", {"model": "$model"}),
    Call("detokenize", "engine", "POST", "/detokenize", {"model": "$model", "tokens": IDS}),
    _completion("whole"),
    _completion("whole, logprobs", logprobs=5),
    _completion("whole, prompt_logprobs", prompt_logprobs=1),
    _completion("stream", stream=True),
    _completion("stream, usage, logprobs", stream=True, stream_options={"include_usage": True}, logprobs=5),
    _completion("text", prompt="apple river"),
    _completion("two prompts", prompt=["apple", "river"]),
    _completion("two answers", n=2, temperature=1, seed=1),
    _completion("echo", echo=True),
    _completion("salt", cache_salt="abc"),
    _completion("unknown field", unknown_field=1),
    _completion("no model", model=...),
    _completion("tag and skip_save", kv_transfer_params={"lmcache.tag.x": "1", "lmcache.skip_save": "true"}),
    _completion("other model", model="nope"),
    _completion("no prompt", prompt=...),
    _completion("empty text", prompt=""),
    _completion("empty list", prompt=[]),
    _completion("max_tokens 0", max_tokens=0),
    _completion("max_tokens -1", max_tokens=-1),
    _completion("max_tokens beyond the model", max_tokens=50_000),
    _completion("max_tokens as a word", max_tokens="x"),
    _completion("prompt too long", prompt=IDS * 140),
    _completion("text too long", prompt="apple " * 5000),
    _completion("prompt and answer too long", max_tokens=4090),
    _completion("too many logprobs", logprobs=25),
    _completion("all logprobs", logprobs=-1),
    _completion("token out of vocabulary", prompt=[999_999]),
    _completion("temperature below zero", temperature=-1),
    _completion("options without a stream", stream_options={"include_usage": True}),
    _completion("streamed prompt_logprobs", stream=True, prompt_logprobs=1),
    _completion("empty salt", cache_salt=""),
    _completion("params that are no object", kv_transfer_params="x"),
    Call("no JSON", "engine", "POST", COMPLETIONS, raw=b"not json"),
    Call("chat", "engine", "POST", "/v1/chat/completions",
         {"model": "$model", "messages": [{"role": "user", "content": "hi"}]}),
]  # fmt: skip
INTERNAL = [
    Call(f"{path} of the {server}", server, "GET", path)
    for server in ("scheduler", "worker")
    for path in ("/conf", "/conf?names=chunk_size,nope", "/meta", "/meta?names=model_name", "/backends", "/bypass/list",
                 "/freeze/status", "/hot_cache/status", "/lookup/info", "/inference_info", "/inference_version",
                 "/version", "/lmc_version", "/commit_id", "/env", "/health", "/nope")
]  # fmt: skip
CONTROLLER = [
    Call("workers", "controller", "GET", "/controller/workers"),
    Call("workers of nobody", "controller", "GET", "/controller/workers?instance_id=nobody"),
    Call("worker of nobody", "controller", "GET", "/controller/workers?instance_id=nobody&worker_id=0"),
    Call("worker without a number", "controller", "GET", "/controller/workers?worker_id=x"),
    Call("key stats", "controller", "GET", "/controller/key-stats"),
    Call("health by GET", "controller", "GET", "/health"),
    Call("no such page", "controller", "GET", "/nope"),
    Call("env", "controller", "GET", "/env"),
    Call("all workers", "controller", "POST", "/query_worker_info", {"instance_id": "all"}),
    Call("nobody's workers", "controller", "POST", "/query_worker_info", {"instance_id": "nobody"}),
    Call("workers of no instance", "controller", "POST", "/query_worker_info", {}),
    Call("instance by address", "controller", "POST", "/query_instance", {"event_id": "x", "ip": "$receiver"}),
    Call("instance of nobody", "controller", "POST", "/query_instance", {"event_id": "x", "ip": "1.2.3.4"},
         texts=False),
    Call("instance without address", "controller", "POST", "/query_instance", {"event_id": "x"}),
    Call("health of nobody", "controller", "POST", "/health", {"instance_id": "nobody"}),
    Call("lookup", "controller", "POST", "/lookup", {"tokens": [1, 2, 3]}),
    Call("lookup of nothing", "controller", "POST", "/lookup", {}),
]  # fmt: skip


def answer(call: Call, base: str, names: dict[str, str]) -> dict[str, Any]:
    """What matters of the answer: status, content type, shape, error texts."""
    body = json.loads(_filled(json.dumps(call.body), names)) if call.body is not None else None
    data = call.raw if call.raw is not None else None if body is None else json.dumps(body).encode()
    with requests.Session() as session:
        session.trust_env = False
        reply = session.request(call.method, base + call.path, data=data, timeout=60,
                                headers={"Content-Type": "application/json", **call.headers})  # fmt: skip
    seen = {"status": reply.status_code, "type": reply.headers.get("Content-Type") if reply.content else None}
    text = reply.content.decode("utf-8", "replace")
    if "event-stream" in (seen["type"] or ""):
        events = [line[5:].strip() for line in text.splitlines() if line.startswith("data:")]
        seen["shape"] = [event if event == "[DONE]" else shape(json.loads(event)) for event in events]
        return seen
    try:
        content = json.loads(text)
    except ValueError:
        return {**seen, "shape": "text" if text else None}
    seen["shape"] = {"env": "open"} if call.path == "/env" else shape(content)
    if reply.status_code >= 400 and call.texts:
        seen["text"] = re.sub(r"\d+", "#", text)
    return seen


def _filled(text: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        text = text.replace(f"${name}", value)
    return text


def shape(value: Any, key: str = "") -> Any:
    """A JSON value with its data taken out: keys stay, scalars become their kind."""
    if isinstance(value, dict):
        if key in OPEN:
            return {"*": _merged([shape(item) for item in value.values()])}
        return {name: shape(item, name) for name, item in sorted(value.items())}
    if isinstance(value, list):
        return [_merged([shape(item, key) for item in value])]
    if isinstance(value, bool) or value is None:
        return type(value).__name__
    return "number" if isinstance(value, (int, float)) else "string"


def _merged(shapes: list[Any]) -> Any:
    unique = {json.dumps(one, sort_keys=True): one for one in shapes}
    return [unique[name] for name in sorted(unique)]


def compare(real: dict[str, Any], rehearsal: dict[str, Any]) -> list[str]:
    """Answers by the names of the calls; one sentence per difference."""
    found = [f"{name}: was asked of one cluster only, capture both anew" for name in real.keys() ^ rehearsal.keys()]
    for name in real.keys() & rehearsal.keys():
        here, there = rehearsal[name], real[name]
        found += [f"{name}: {part} is {_short(here.get(part))}, really {_short(there.get(part))}"
                  for part in sorted(there.keys() | here.keys()) if there.get(part) != here.get(part)]  # fmt: skip
    return sorted(found)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 1200 else text[:1200] + " ..."
