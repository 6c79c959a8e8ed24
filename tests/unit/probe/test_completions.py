# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One streamed completion as evidence, in whatever shape it arrives."""

from __future__ import annotations

import json
import time

import pytest
from fake_engine import Server
from kvproof.probe.completions import CompletionClient, StreamReader
from kvproof.probe.document import empty_request
from kvproof.transport.http import Deadline, HttpClient


def event(text, **more):
    return f"data: {json.dumps({'id': 'cmpl-1', 'choices': [{'text': text, 'finish_reason': None, **more}]})}\n\n"


LAST = event("c", finish_reason="stop")
USAGE = (
    'data: {"id": "cmpl-1", "choices": [], "usage": {"prompt_tokens": 40, "completion_tokens": 3, '
    '"prompt_tokens_details": {"cached_tokens": 32}}}\n\n'
)
DONE = "data: [DONE]\n\n"


@pytest.fixture
def server():
    made = Server()
    yield made
    made.close()


def serve(server, *pieces, end=True):
    def stream(handler, _payload):
        handler.start_stream()
        for piece in pieces:
            handler.send(piece)
        if end:
            handler.end_stream()
        handler.close_connection = True

    server.on["/v1/completions"] = stream


def ask(server, seconds=10, **options):
    client = CompletionClient(HttpClient(server.url, Deadline(seconds)), "receiver", "fake")
    client.timeout_s = options.pop("timeout_s", 10)
    request = client.ask("reuse", [1, 2, 3], "kvp-r-0-reuse", 16, **options)
    assert set(request) == set(empty_request("reuse", "receiver", ""))
    return request


def test_a_stream_in_the_usual_shape(server):
    serve(server, event("a"), event("b"), LAST, USAGE, DONE)
    request = ask(server)
    assert request["error"] is None
    assert (request["text"], request["finish_reason"], request["response_id"]) == ("abc", "stop", "cmpl-1")
    assert (request["prompt_tokens"], request["cached_tokens"], request["completion_tokens"]) == (40, 32, 3)
    assert request["itl_s"]["n"] == 2
    assert 0 < request["ttft_s"] <= request["total_s"]
    assert request["tpot_s"] >= 0
    path, payload, headers = server.requests[-1]
    assert path == "/v1/completions"
    assert headers["X-Request-Id"] == "kvp-r-0-reuse"
    assert payload == {
        "model": "fake",
        "prompt": [1, 2, 3],
        "max_tokens": 16,
        "temperature": 0,
        "logprobs": 5,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_shapes_that_proxies_make_of_it(server):
    whole = ": keep-alive\r\n\r\nevent: x\r\n" + (event("ä") + event("b") + LAST + USAGE + DONE).replace("\n", "\r\n")
    data = whole.encode().replace(b"\\u00e4", "ä".encode())
    serve(server, *[data[at : at + 7] for at in range(0, len(data), 7)])
    request = ask(server)
    assert request["error"] is None
    assert request["text"] == "äbc"
    assert request["itl_s"]["n"] == 2


def test_time_to_first_token_is_that_of_the_first_chunk_with_a_token():
    reader = StreamReader(started=100.0)
    reader.feed(event("").encode(), 100.5)
    reader.feed(event("a").encode()[:10], 101.0)
    reader.feed(event("a").encode()[10:], 102.0)
    reader.feed((event("b") + event("c")).encode(), 102.5)
    reader.feed((LAST + DONE).encode(), 104.5)
    itl = {"n": 3, "mean": 0.833333, "p50": 0.5, "max": 2.0, "gaps": [0.5, 0.0, 2.0]}
    assert reader.timings() == {"ttft_s": 2.0, "itl_s": itl}


def test_an_answer_without_usage_leaves_the_counts_unknown(server):
    serve(server, event("a"), LAST, DONE)
    request = ask(server)
    assert request["error"] is None
    assert request["cached_tokens"] is None
    assert request["prompt_tokens"] is None
    assert request["tpot_s"] is None


def test_details_of_the_usage_may_be_missing(server):
    serve(server, LAST, 'data: {"choices": [], "usage": {"prompt_tokens": 4, "prompt_tokens_details": null}}\n\n', DONE)
    assert ask(server)["cached_tokens"] is None


def test_log_probabilities(server):
    lines = [
        event("a", logprobs={"tokens": ["a"], "token_logprobs": [-0.5], "top_logprobs": [{"a": -0.5, "b": -2}]})
        for _unused in range(20)
    ]
    odd = event("x", logprobs={"tokens": ["x", "y"], "token_logprobs": [None, 3], "top_logprobs": None})
    serve(server, odd, *lines, LAST, DONE)
    found = ask(server)["logprobs"]
    assert len(found) == 16
    assert found[0] == {"token": "x", "logprob": None, "top": {}}
    assert found[2] == {"token": "a", "logprob": -0.5, "top": {"a": -0.5, "b": -2.0}}


def test_minus_infinity_stays_valid_json():
    reader = StreamReader(0.0)
    reader.feed(
        b'data: {"choices": [{"text": "a", "logprobs": {"tokens": ["a"], "token_logprobs": [-Infinity], '
        b'"top_logprobs": [{"a": NaN}]}}]}\n',
        1.0,
    )
    assert reader.logprobs == [{"token": "a", "logprob": -9999.0, "top": {"a": -9999.0}}]


def test_text_is_cut(server):
    serve(server, event("a" * 500), LAST, DONE)
    assert len(ask(server)["text"]) == 400


def test_refused_logprobs_are_left_out_from_then_on(server):
    serve(server, LAST, DONE)
    stream = server.on["/v1/completions"]
    server.on["/v1/completions"] = lambda h, p: (
        h.reply(400, {"message": "Requested sample logprobs of 5, which is greater than max allowed: 0"})
        if "logprobs" in p
        else stream(h, p)
    )
    client = CompletionClient(HttpClient(server.url, Deadline(10)), "receiver", "fake")
    for _unused in range(2):
        request = client.ask("reuse", [1], "kvp-r-0-reuse", 16)
        assert request["error"] is None
        assert request["logprobs"] is None
    assert server.paths().count("/v1/completions") == 3


def test_another_refusal_is_an_error(server):
    server.on["/v1/completions"] = lambda h, _p: h.reply(422, {"detail": "cache_salt: extra field"})
    error = ask(server)["error"]
    assert (error["kind"], error["status"]) == ("http", 422)
    assert "cache_salt" in error["text"]
    assert server.paths().count("/v1/completions") == 1


@pytest.mark.parametrize("end", [True, False])
def test_a_stream_cut_in_the_middle_keeps_what_came(server, end):
    serve(server, event("a"), event("b"), end=end)
    request = ask(server)
    assert request["error"]["kind"] == "stream"
    assert "cut the stream" in request["error"]["text"] or "connection was closed" in request["error"]["text"]
    assert request["text"] == "ab"
    assert request["ttft_s"] is not None
    assert request["tpot_s"] is None


def test_an_error_inside_the_stream(server):
    serve(server, event("a"), 'data: {"error": {"message": "EngineCore died", "code": 500}}\n\n', DONE)
    error = ask(server)["error"]
    assert (error["kind"], error["status"]) == ("http", 500)
    assert "EngineCore died" in error["text"]


@pytest.mark.parametrize("body", ["<html>login</html>", "OK", "[1]", '"x"'])
def test_an_answer_that_is_no_completion(server, body):
    server.on["/v1/completions"] = lambda h, _p: h.reply(200, body, "text/html")
    assert ask(server)["error"]["kind"] == "json"


def test_an_event_that_is_not_json(server):
    serve(server, event("a"), "data: {oops\n\n", DONE)
    assert ask(server)["error"]["kind"] == "json"


def test_an_answer_in_one_piece_has_no_time_to_first_token(server):
    server.on["/v1/completions"] = lambda h, _p: h.reply(
        200, {"id": "cmpl-2", "choices": [{"text": "abc", "finish_reason": "stop"}], "usage": {"prompt_tokens": 4}}
    )
    request = ask(server)
    assert request["error"] is None
    assert (request["text"], request["ttft_s"], request["itl_s"]) == ("abc", None, None)


def test_prompt_logprobs_are_asked_without_streaming(server):
    server.on["/v1/completions"] = lambda h, _p: h.reply(
        200, {"id": "cmpl-2", "choices": [{"text": "a", "finish_reason": "length"}]}
    )
    assert ask(server, extra={"prompt_logprobs": 1})["error"] is None
    payload = server.requests[-1][1]
    assert payload["prompt_logprobs"] == 1
    assert "stream" not in payload


@pytest.mark.parametrize(("seconds", "timeout", "kind"), [(10, 0.3, "timeout"), (0.3, 10, "deadline")])
def test_a_server_that_dribbles_without_end(server, seconds, timeout, kind):
    def dribble(handler, _payload):
        handler.start_stream()
        for _unused in range(40):
            handler.send(event("a"))
            time.sleep(0.05)

    server.on["/v1/completions"] = dribble
    request = ask(server, seconds=seconds, timeout_s=timeout)
    assert request["error"]["kind"] == kind
    assert request["text"].startswith("a")
