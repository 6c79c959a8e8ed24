# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input and bad servers: each gives one sentence that says what to do, in bounded time, without the key."""

from __future__ import annotations

import socket
import ssl
import time

import pytest
from certificates import self_signed
from fake_engine import Server
from kvproof.transport.http import Deadline, HttpClient, RequestFailed, UrlError, check_engine_url, check_url

KEY = "sk-very-secret"


@pytest.fixture
def server():
    made = Server()
    yield made
    made.close()


def failure(client, target="/x", **options):
    with pytest.raises(RequestFailed) as caught:
        client.get(target, **options)
    error = caught.value.error
    assert set(error) == {"kind", "status", "text"}
    assert "\n" not in error["text"]
    assert KEY not in error["text"]
    return error


def client_of(server, **options):
    return HttpClient(server.url, Deadline(options.pop("seconds", 10)), **options)


@pytest.mark.parametrize(
    "url",
    [
        "",
        None,
        7,
        "node-1",
        "node-1:8000",
        "localhost",
        "ftp://node-1",
        "http://",
        "http://:8000",
        "http://node:port",
        "http://node:99999",
        "http://node:0",
        "http://no de:80",
        "http://-node",
        "http://10.0.0.999:80",
        "http://a..b",
        "http://[::1",
        "http://node/?q=1",
        "http://node/#x",
        "http://user:pw@node:80",
        "http://node\n:80",
        "http://{{ host }}:8000",
    ],
)
def test_a_url_that_is_none_is_refused_in_one_sentence(url):
    with pytest.raises(UrlError) as caught:
        check_url(url, "holder.url")
    text = str(caught.value)
    assert text.startswith("holder.url ")
    assert "\n" not in text
    assert "pw" not in text


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://node-1:8000/", "http://node-1:8000"),
        ("https://node.example.com", "https://node.example.com"),
        (" http://10.0.0.1:8000/v1 ", "http://10.0.0.1:8000"),
        ("http://[::1]:80/v1/completions", "http://[::1]:80"),
        ("http://gateway/prefill/v1/", "http://gateway/prefill"),
        ("http://my_node:1", "http://my_node:1"),
    ],
)
def test_the_api_path_many_give_is_taken_off(given, used):
    assert check_engine_url(given) == used


def test_a_closed_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    error = failure(HttpClient(url, Deadline(5)))
    assert error["kind"] == "connect"
    assert "nothing listens" in error["text"]


def test_a_name_that_does_not_resolve():
    error = failure(HttpClient("http://no-such-host.invalid:8000", Deadline(5)))
    assert error["kind"] == "dns"


@pytest.mark.parametrize(
    ("status", "key", "advice"),
    [
        (401, None, "set kv_reuse_api_key"),
        (401, KEY, "correct kv_reuse_api_key"),
        (403, KEY, "refused the API key"),
        (404, None, "does not exist"),
        (500, None, "look at the engine's log"),
        (503, None, "HTTP 503"),
        (418, None, "418"),
    ],
)
def test_http_errors_say_what_to_do_and_quote_the_server_without_the_key(server, status, key, advice):
    server.on["/x"] = lambda h, _p: h.reply(
        status, {"error": {"message": f"no, {h.headers.get('Authorization')}, really"}}
    )
    error = failure(client_of(server, api_key=key, headers={"X-Tenant": "tenant-secret"}))
    assert (error["kind"], error["status"]) == ("http", status)
    assert advice in error["text"]
    assert "really" in error["text"]


@pytest.mark.parametrize("before", range(188, 201))
def test_a_key_at_the_end_of_what_is_quoted_is_hidden_before_the_cut(server, before):
    server.on["/x"] = lambda handler, _payload: handler.reply(500, {"message": "y" * before + KEY})
    text = failure(client_of(server, api_key=KEY))["text"]
    assert "y" * before in text
    assert KEY[:2] not in text.split("y" * before)[1]


def test_an_html_error_page_is_not_quoted(server):
    server.on["/x"] = lambda h, _p: h.reply(502, "<html><body>bad gateway</body></html>", "text/html")
    assert "(an HTML page)" in failure(client_of(server))["text"]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed_and_the_key_stays_at_home(server, status):
    elsewhere = Server()
    server.on["/x"] = lambda h, _p: h.reply(status, b"", Location=f"{elsewhere.url}/y?token={KEY}")
    error = failure(client_of(server, api_key=KEY, headers={"X-Tenant": "t"}))
    elsewhere.close()
    assert elsewhere.requests == []
    assert (error["kind"], error["status"]) == ("http", status)
    assert f"redirects to {elsewhere.url}" in error["text"]


def test_key_and_headers_are_sent_and_the_environments_proxy_is_not_used(server, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    server.on["/x"] = lambda h, _p: h.reply(200, {"ok": 1})
    assert client_of(server, api_key=KEY, headers={"X-Tenant": "t"}).get_json("/x") == {"ok": 1}
    sent = server.requests[0][2]
    assert sent["Authorization"] == f"Bearer {KEY}"
    assert sent["X-Tenant"] == "t"


def test_a_proxy_is_used_when_given(server):
    server.answer = lambda path, h, _p: h.reply(200, {"asked": path})
    client = HttpClient("http://no-such-host.invalid", Deadline(5), proxy=server.url)
    assert client.get_json("/x") == {"asked": "http://no-such-host.invalid/x"}


def test_a_proxy_that_is_down():
    client = HttpClient("http://no-such-host.invalid", Deadline(5), proxy="http://127.0.0.1:9")
    error = failure(client)
    assert error["kind"] == "connect"
    assert "kv_reuse_proxy" in error["text"]


def hang(handler, _payload):
    time.sleep(3)
    handler.close_connection = True


def dribble_body(handler, _payload):
    handler.start_stream()
    for _unused in range(60):
        handler.send(": still here\n\n")
        time.sleep(0.05)


def dribble_header(handler, _payload):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    for _unused in range(60):
        handler.wfile.write(b"a")
        time.sleep(0.05)


@pytest.mark.parametrize("behave", [hang, dribble_body, dribble_header])
def test_a_server_that_hangs_or_dribbles_is_left_in_time(server, behave):
    server.on["/x"] = behave
    assert failure(client_of(server), timeout=0.3)["kind"] == "timeout"
    error = failure(client_of(server, seconds=0.3))
    assert error["kind"] == "deadline"
    assert "kv_reuse_deadline" in error["text"]


def test_nothing_is_sent_after_the_deadline(server):
    assert failure(client_of(server, seconds=0))["kind"] == "deadline"
    assert server.requests == []


def test_a_connection_that_is_closed_without_an_answer(server):
    def close(handler, _payload):
        handler.close_connection = True

    server.on["/x"] = close
    assert failure(client_of(server))["kind"] == "stream"


def test_an_answer_without_end_is_bounded(server):
    server.on["/x"] = lambda h, _p: h.reply(200, b"x" * 3000)
    error = failure(client_of(server), max_bytes=1000)
    assert error["kind"] == "stream"
    assert "more than" in error["text"]


@pytest.mark.parametrize("body", ["<html>hello</html>", "hello", "\xff"])
def test_what_is_not_json(server, body):
    server.on["/x"] = lambda h, _p: h.reply(200, body.encode("latin-1"))
    with pytest.raises(RequestFailed) as caught:
        client_of(server).get_json("/x?names=a")
    assert caught.value.error["kind"] == "json"
    assert ("HTML" in str(caught.value)) == body.startswith("<")
    assert "names" not in str(caught.value)


def test_https_to_a_server_without_tls(server):
    error = failure(HttpClient(server.url.replace("http", "https"), Deadline(5)))
    assert error["kind"] == "tls"
    assert "write http://" in error["text"]


def test_a_certificate_is_checked_unless_told_otherwise(server, tmp_path):
    pem = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server.http.socket = context.wrap_socket(server.http.socket, server_side=True)
    server.on["/x"] = lambda h, _p: h.reply(200, {})
    url = server.url.replace("http", "https")
    error = failure(HttpClient(url, Deadline(5)))
    assert error["kind"] == "tls"
    assert "kv_reuse_ca_cert" in error["text"]
    assert HttpClient(url, Deadline(5), ca_cert=str(pem)).get_json("/x") == {}
    assert HttpClient(url, Deadline(5), verify_tls=False).get_json("/x") == {}


def test_a_request_tells_when_it_goes_out_before_anything_comes_back(server):
    arrived = []

    def answer(handler, _payload):
        arrived.append(time.perf_counter())
        handler.reply(200, b"x")

    server.on["/x"] = answer
    sent, pieces = [], []
    client_of(server).exchange("POST", "/x", payload={}, sending=sent.append, sink=lambda _p, at: pieces.append(at))
    assert len(sent) == 1
    assert sent[0] <= arrived[0] <= pieces[0]


@pytest.mark.parametrize(
    "url",
    [
        "http://h:1/?token=Vogel",
        "http://h:1/#Vogel",
        "ftp://me:Vogel@h:1",
        "me:Vogel@h:1?key=Vogel",
        "http://h:99999/?a=b\n&token=Vogel",
        "http://me:Vo@gel@h:1/x y",
    ],
)
def test_a_refusal_shows_nothing_that_may_be_a_secret(url):
    with pytest.raises(UrlError) as refused:
        check_url(url)
    assert "Vo" not in str(refused.value)
