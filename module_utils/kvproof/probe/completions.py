# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Client for POST /v1/completions: one streamed request becomes one evidence document REQUEST.

Times are taken where bytes arrive on the socket.  Fields as vLLM 0.11 to 0.32 serves them.
"""

from __future__ import annotations

import itertools
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..stack.numbers import is_plausible, whole
from ..transport.http import HttpClient, Reply, RequestFailed, not_json_text
from . import kv_transfer
from .document import empty_request

TEXT_LIMIT = 400
GAPS = 256  # times between tokens that are kept
LOGPROB_TOKENS = 16  # tokens whose log-probabilities are kept
TOP_LOGPROBS = 5
MOST_TOPS = 4 * TOP_LOGPROBS  # of one token: more than was asked for is left out
WORD = 200  # characters of an id, a token or a reason
REFUSED = (400, 422)  # what vLLM and gateways answer to a field they do not take
LOWEST_LOGPROB = -9999.0  # vLLM's own stand-in for minus infinity, which JSON cannot hold


@dataclass
class StreamReader:
    """Reads server-sent events piece by piece; ``started`` and ``at`` are time.perf_counter values."""

    started: float
    response_id: str | None = None
    usage: dict[str, Any] | None = None
    finish_reason: str | None = None
    kv_transfer_params: Any = None
    text: str = ""
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    token_times: list[float] = field(default_factory=list)  # arrival of each event that carries a token
    server_error: dict[str, Any] | None = None
    done: bool = False
    events: int = 0
    not_json: bool = False
    _rest: bytes = b""

    def start(self, at: float) -> None:
        """The request goes out now; what came before, encoding and connecting, is not the engine's time."""
        self.started = at

    def feed(self, piece: bytes, at: float) -> None:
        """Takes bytes that arrived at ``at``; an event that holds no JSON sets ``not_json``."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            self._line(line.rstrip(b"\r"), at)

    def _line(self, line: bytes, at: float) -> None:
        if not line.startswith(b"data:"):  # comments, event names and empty lines carry nothing here
            return
        data = line[5:].strip()
        if data == b"[DONE]":
            self.done = True
            return
        if data:
            self.events += 1
            try:
                self.take(json.loads(data.decode("utf-8")), at)
            except (ValueError, RecursionError):
                self.not_json = True

    def take(self, chunk: Any, at: float | None) -> None:
        """One chunk of a stream, or a whole answer (``at`` None: it has no time to first token).

        Raises ValueError where it is no JSON object.
        """
        if not isinstance(chunk, dict):
            raise ValueError("not an object")
        if chunk.get("error"):
            error = chunk["error"]
            self.server_error = error if isinstance(error, dict) else {"message": str(error)}
            return
        self.response_id = self.response_id or (_text_or_none(chunk.get("id")) or "")[:WORD] or None
        if isinstance(chunk.get("usage"), dict):
            self.usage = chunk["usage"]
        self.kv_transfer_params = chunk.get("kv_transfer_params") or self.kv_transfer_params
        choices = chunk.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            return
        choice = choices[0]
        text = _text_or_none(choice.get("text")) or ""
        logprobs = choice.get("logprobs")
        if at is not None and (text or logprobs or choice.get("token_ids") or choice.get("finish_reason")):
            self.token_times.append(at)
        self.text += text[: TEXT_LIMIT - len(self.text)]
        self.logprobs += _logprobs(logprobs, LOGPROB_TOKENS - len(self.logprobs))
        self.finish_reason = (_text_or_none(choice.get("finish_reason")) or self.finish_reason or "")[:WORD] or None

    def timings(self) -> dict[str, Any]:
        """TTFT and the summary of inter-token times, in seconds."""
        times = self.token_times
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        return {
            "ttft_s": round(times[0] - self.started, 6) if times else None,
            "itl_s": {
                "n": len(gaps),
                "mean": round(statistics.fmean(gaps), 6),
                "p50": round(statistics.median(gaps), 6),
                "max": round(max(gaps), 6),
                "gaps": [round(gap, 6) for gap in gaps[:GAPS]],
            }
            if gaps
            else None,
        }


@dataclass
class CompletionClient:
    """Sends completions to one engine and remembers what that engine refuses.

    kv_transfer_params: the last answer's, whole, for the request that goes on with it.
    """

    http: HttpClient
    engine: str  # "holder" or "receiver"
    model: str
    timeout_s: float = 60.0
    takes_logprobs: bool = True
    #: Called before every request: why it must not be sent now, an ERROR, or None.
    guard: Callable[[], dict[str, Any] | None] = lambda: None
    streams: bool = True  # an answer in one piece has no time to first token, and has kv_transfer_params
    kv_transfer_params: Any = None

    def ask(
        self, role: str, prompt: list[int] | str, request_id: str, max_tokens: int, extra: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """One request; returns REQUEST, whatever happens (``error`` says what went wrong).

        ``logprobs`` refused by the engine: sent again without, here and from then on.
        """
        request = self._ask(role, prompt, request_id, max_tokens, extra)
        error = request["error"]
        if (
            self.takes_logprobs
            and error
            and error["status"] in REFUSED
            and "logprob" in error["text"].lower()
            and "prompt_logprobs" not in (extra or {})
        ):
            self.takes_logprobs = False
            request = self._ask(role, prompt, request_id, max_tokens, extra)
        return request

    def warm_connection(self) -> None:
        """Opens the connection that a timed request is about to use, so that none pays for it."""
        if self.http.is_idle():
            try:
                self.http.get("/health", timeout=5.0)
            except RequestFailed:
                pass  # the request itself will say what is wrong

    def _ask(
        self, role: str, prompt: list[int] | str, request_id: str, max_tokens: int, extra: dict[str, Any] | None
    ) -> dict[str, Any]:
        extra = dict(extra or {})
        payload = {"model": self.model, "prompt": prompt, "max_tokens": max_tokens, "temperature": 0, **extra}
        if self.takes_logprobs:
            payload["logprobs"] = TOP_LOGPROBS
        if self.streams and not extra.get("prompt_logprobs"):  # vLLM does not stream these
            payload.update(stream=True, stream_options={"include_usage": True})
        request = empty_request(role, self.engine, request_id)
        request["error"] = self.guard()
        if request["error"]:
            return request
        self.warm_connection()
        request["sent_at"] = round(time.time(), 6)
        reader = StreamReader(time.perf_counter())
        try:
            reply = self.http.exchange(
                "POST",
                "/v1/completions",
                payload=payload,
                timeout=self.timeout_s,
                headers={"X-Request-Id": request_id},
                sink=reader.feed if payload.get("stream") else None,
                sending=reader.start,
            )
            self._check_complete(reader, reply)
        except RequestFailed as exc:
            request["error"] = exc.error
        request["total_s"] = round(time.perf_counter() - reader.started, 6)
        self._fill(request, reader)
        return request

    def _check_complete(self, reader: StreamReader, reply: Reply) -> None:
        try:
            if not reader.events and not reader.done:  # an answer in one piece, or something else altogether
                reader.take(reply.json(), None)
        except ValueError:
            reader.not_json = True
        if reader.not_json:
            raise RequestFailed("json", not_json_text(self.http.base + "/v1/completions", reply.body))
        if reader.server_error is not None:
            code = reader.server_error.get("code")
            reason = self.http.scrub(str(reader.server_error.get("message") or "no reason given"))[:200]
            raise RequestFailed(
                "http",
                f"{self.http.base} stopped with an error ({reason}); look at the engine's log",
                whole(code, 100, 599),
            )
        if not reader.done and reader.finish_reason is None:
            raise RequestFailed(
                "stream",
                f"{self.http.base} cut the stream before its end; look at the engine's log, and at proxies between",
            )

    def _fill(self, request: dict[str, Any], reader: StreamReader) -> None:
        usage = reader.usage or {}
        self.kv_transfer_params = reader.kv_transfer_params
        details = usage.get("prompt_tokens_details")
        completion = whole(usage.get("completion_tokens"))
        request.update(reader.timings())
        if request["ttft_s"] is not None and completion and completion > 1 and request["error"] is None:
            request["tpot_s"] = round((request["total_s"] - request["ttft_s"]) / (completion - 1), 6)
        request.update(
            response_id=reader.response_id,
            prompt_tokens=whole(usage.get("prompt_tokens")),
            cached_tokens=whole(details.get("cached_tokens")) if isinstance(details, dict) else None,
            completion_tokens=completion,
            finish_reason=reader.finish_reason,
            text=reader.text,
            logprobs=reader.logprobs or None,
            kv_transfer=kv_transfer.kept(reader.kv_transfer_params),
        )


def _logprobs(logprobs: Any, most: int) -> list[dict[str, Any]]:
    """OpenAI's completion log-probabilities as a list of one object per token, of at most so many tokens."""
    if not isinstance(logprobs, dict) or not isinstance(logprobs.get("tokens"), list):
        return []
    tokens, values, tops = (
        logprobs[name] if isinstance(logprobs.get(name), list) else []
        for name in ("tokens", "token_logprobs", "top_logprobs")
    )
    result = []
    for token, value, top in itertools.islice(itertools.zip_longest(tokens, values, tops), min(most, len(tokens))):
        runners_up = itertools.islice(top.items(), MOST_TOPS) if isinstance(top, dict) else ()
        result.append(
            {
                "token": _word(token),
                "logprob": _logprob(value),
                "top": {_word(key): _logprob(logprob) for key, logprob in runners_up},
            }
        )
    return result


def _word(value: Any) -> str:
    return value[:WORD] if isinstance(value, str) else ""


def _logprob(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if is_plausible(value) else LOWEST_LOGPROB


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
