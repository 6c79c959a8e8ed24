# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP to an engine or a controller: bounded in time and bytes, errors as one clear sentence, secrets kept.

Every exchange runs in a thread of its own, so that even what has no time-out (a name lookup, a server that
dribbles its header) cannot outlive the limit.  Redirects are never followed: a key cannot leave its host.
"""

from __future__ import annotations

import ipaddress
import json
import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

try:
    import requests
    import urllib3
    from requests import exceptions as rex

    REQUESTS_IMPORT_ERROR = None
except ImportError as exc:  # reported by the module with missing_required_lib
    requests = urllib3 = None  # type: ignore[assignment]
    REQUESTS_IMPORT_ERROR = exc

MAX_BYTES = 16 * 1024 * 1024  # of one answer; a metrics page of a busy engine has about 1 MB
QUOTED = 200  # characters of what a server says about an error
MAX_ERROR_BYTES = 64 * 1024
CONNECT_TIMEOUT_S = 5.0
IDLE_RECONNECT_S = 2.0  # uvicorn drops idle connections after 5 s: never race with it
READ_PIECE = 65536


class UrlError(ValueError):
    """A URL that is none; the message is one sentence saying what to write instead."""


class RequestFailed(Exception):
    """An exchange that gave no usable answer.  ``error`` is the evidence document ERROR."""

    def __init__(self, kind: str, text: str, status: int | None = None):
        super().__init__(text)
        self.error: dict[str, Any] = {"kind": kind, "status": status, "text": text}


class Deadline:
    """The moment when all work has to be over."""

    def __init__(self, seconds: float):
        self.seconds = float(seconds)
        self._end = time.monotonic() + self.seconds

    def left(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._end - time.monotonic())

    def passed(self) -> bool:
        return self.left() <= 0

    def grant(self, seconds: float) -> None:
        """So many seconds from now at least."""
        self._end = max(self._end, time.monotonic() + seconds)


@dataclass
class Reply:
    """Status, header fields and the (bounded) body of one answer."""

    status: int
    headers: dict[str, str]
    body: bytes = b""

    def json(self) -> Any:
        """The body as JSON.  Raises ValueError."""
        try:
            return json.loads(self.body.decode("utf-8"))
        except RecursionError:
            raise ValueError("nested too deep") from None


def check_url(url: Any, what: str = "URL") -> str:
    """Returns the URL without trailing slashes and API path, or raises UrlError with one clear sentence."""
    if not isinstance(url, str) or not url.strip():
        raise UrlError(f"{what} is empty: write http://host:port")
    url = url.strip()
    if re.search(r"[\s\x00-\x1f\"<>\\^`{|}]", url):
        raise UrlError(f"{what} {_shown(url)} has characters that no URL has: write http://host:port")
    try:
        parts = urlsplit(url)
        host, port, user = parts.hostname, parts.port, parts.username
    except ValueError:
        raise UrlError(
            f"{what} {_shown(url)} is not a URL: write http://host:port, the port a number up to 65535"
        ) from None
    if parts.scheme not in ("http", "https"):
        raise UrlError(f"{what} {_shown(url)} does not begin with http:// or https://: write http://host:port")
    if user is not None or parts.password is not None:
        raise UrlError(f"{what} of {host} holds credentials: leave them out, and give a key with kv_reuse_api_key")
    if not host or port == 0:
        raise UrlError(f"{what} {_shown(url)} names no host or port: write http://host:port")
    if parts.query or parts.fragment:
        raise UrlError(f"{what} {_shown(url)} has a query or a fragment: leave it out, write http://host:port")
    if not _is_host(host):
        raise UrlError(f"{what} {_shown(url)} has no valid host name: write http://host:port")
    return url.rstrip("/")


def check_engine_url(url: Any, what: str = "URL") -> str:
    """As check_url; the path of the API itself (/v1, /v1/completions), which many give, is taken off."""
    return re.sub(r"/v1(/(chat/)?completions)?$", "", check_url(url, what))


def origin(url: str) -> str:
    """scheme://host:port of a URL, for messages."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


@dataclass
class HttpClient:
    """One engine's or controller's HTTP side.  Not for use by two threads at once."""

    base: str
    deadline: Deadline
    api_key: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    ca_cert: str | None = None
    verify_tls: bool = True
    proxy: str | None = None
    tunnel: Any = None  # a tunnel.Tunnel through which everything goes
    _session: Any = field(default=None, repr=False)
    _last_used: float = field(default=0.0, repr=False)

    def get(self, target: str, timeout: float = 10.0, max_bytes: int = MAX_BYTES) -> Reply:
        """GET of a path under the base, or of a whole URL.  Raises RequestFailed, also for a status >= 300."""
        return self.exchange("GET", target, timeout=timeout, max_bytes=max_bytes)

    def get_json(self, target: str, timeout: float = 10.0) -> Any:
        """GET, the body as JSON.  Raises RequestFailed (kind json where the body is something else)."""
        return self._as_json(target, self.get(target, timeout))

    def post_json(self, target: str, payload: Any, timeout: float = 10.0) -> Any:
        """POST of JSON, the answer as JSON.  Raises RequestFailed."""
        return self._as_json(target, self.exchange("POST", target, payload=payload, timeout=timeout))

    def is_idle(self) -> bool:
        """True when the next exchange opens a new connection (matters for timing)."""
        return self._session is None or time.monotonic() - self._last_used > IDLE_RECONNECT_S

    def exchange(
        self,
        method: str,
        target: str,
        *,
        payload: Any = None,
        headers: dict[str, str] | None = None,
        timeout: float = 10.0,
        max_bytes: int = MAX_BYTES,
        sink: Callable[[bytes, float], None] | None = None,
        sending: Callable[[float], None] | None = None,
    ) -> Reply:
        """One request.  ``sink(piece, perf_counter)`` gets a good answer's bytes as they arrive on the socket, and
        ``sending(perf_counter)`` is called when all is prepared and the request goes out.

        Raises RequestFailed with kind url, dns, connect, timeout, tls, http, stream, deadline or ssh.
        """
        if self.tunnel:
            self.tunnel.open()
        if self.deadline.passed():
            raise self.deadline_error()
        limit = min(timeout, self.deadline.left())
        url = target if "://" in target else self.base + target
        if self.is_idle():
            self._renew_session()
        work = _Work(
            self._session,
            method,
            url,
            _Limits(limit, max_bytes),
            sink=sink,
            sending=sending,
            payload=payload,
            headers={**self.headers, **self._auth(), **(headers or {})},
        )
        thread = threading.Thread(target=work.run, daemon=True)
        thread.start()
        thread.join(limit + 0.25)
        self._last_used = time.monotonic()
        if thread.is_alive():  # nothing else stops a server that dribbles, or a name lookup
            work.abandoned = True
            self._session = None
            raise self._tunnel_lost() or self._timeout_error(url, limit)
        if work.failure is not None:
            self._session = None
            raise self._tunnel_lost() or self._explain(work.failure, url, limit) from None
        if work.reply is None:
            raise RequestFailed("stream", f"{origin(url)} gave no answer; look at its log")
        if work.reply.status >= 300:
            raise self._status_error(work.reply, url)
        return work.reply

    def scrub(self, text: str) -> str:
        """The text without the API key and the values of extra headers."""
        for secret in (self.api_key, *self.headers.values()):
            if secret and len(secret) >= 4:
                text = text.replace(secret, "***")
        return text

    def _auth(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}

    def _tunnel_lost(self) -> RequestFailed | None:
        """The error of a tunnel that broke, whose requests prove nothing about the server; None while it works."""
        return self.tunnel.lost() if self.tunnel else None

    def _renew_session(self) -> None:
        session = requests.Session()
        if self.tunnel:
            self.tunnel.mount(session)
        session.trust_env = False  # no proxies, .netrc or CA bundles from the environment
        session.verify = (self.ca_cert or True) if self.verify_tls else False
        if not self.verify_tls:  # the operator's own choice: no warning with every request
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        if self.proxy:
            session.proxies = {"http": self.proxy, "https": self.proxy}
        session.headers["Accept-Encoding"] = "identity"
        session.headers["User-Agent"] = "kvproof"
        self._session = session

    def _as_json(self, target: str, reply: Reply) -> Any:
        try:
            return reply.json()
        except ValueError:
            raise RequestFailed("json", not_json_text(origin(self.base) + urlsplit(target).path, reply.body)) from None

    def deadline_error(self) -> RequestFailed:
        return RequestFailed(
            "deadline",
            f"the probe's deadline of {self.deadline.seconds:g} s has passed; "
            "see which request was slow, or raise kv_reuse_deadline",
        )

    def _timeout_error(self, url: str, limit: float) -> RequestFailed:
        if self.deadline.left() <= 0.05:
            return self.deadline_error()
        return RequestFailed(
            "timeout",
            f"{origin(url)} did not finish its answer within {limit:.1f} s; "
            "see whether the engine hangs or a firewall drops packets",
        )

    def _status_error(self, reply: Reply, url: str) -> RequestFailed:
        status, where = reply.status, origin(url) + urlsplit(url).path
        quote = self.scrub(_server_message(reply.body))[:QUOTED]  # cut last: half a key is none that scrub knows
        quote = f" ({quote})" if quote else ""
        if status < 400:
            to = reply.headers.get("location", "")
            to = origin(to) if "://" in to else "another path"
            text = f"{where} redirects to {to}, which is not followed; give that URL itself"
        elif status in (401, 403):
            text = (
                f"{where} refused the API key{quote}; correct kv_reuse_api_key"
                if self.api_key
                else f"{where} wants an API key{quote}; set kv_reuse_api_key"
            )
        elif status == 404:
            text = f"{where} does not exist{quote}; see that the URL is a vLLM server's own, and the model's name right"
        elif status >= 500:
            text = f"{where} failed with HTTP {status}{quote}; look at the engine's log"
        else:
            text = f"{where} refused the request with HTTP {status}{quote}"
        return RequestFailed("http", text, status)

    def _explain(self, exc: BaseException, url: str, limit: float) -> RequestFailed:
        """The exception of requests, urllib3 or http.client as an ERROR."""
        if isinstance(exc, RequestFailed):  # raised by the tunnel, and complete
            return exc
        where, chain = origin(url), list(_causes(exc))
        reason = self.scrub(_short(chain[-1]))
        if isinstance(exc, (rex.InvalidURL, rex.InvalidSchema, rex.MissingSchema, UnicodeError)):
            return RequestFailed("url", f"{where} is not a URL that can be used; write http://host:port")
        if any(isinstance(cause, socket.gaierror) or type(cause).__name__ == "NameResolutionError" for cause in chain):
            return RequestFailed(
                "dns", f"the name in {where} does not resolve on this machine; correct the URL or the name service"
            )
        if isinstance(exc, rex.SSLError) or any(type(cause).__name__.startswith("SSL") for cause in chain):
            return RequestFailed("tls", _tls_text(where, reason))
        if isinstance(exc, rex.ProxyError):
            return RequestFailed("connect", f"the proxy for {where} cannot be used ({reason}); correct kv_reuse_proxy")
        if isinstance(exc, (rex.Timeout, TimeoutError)) or any(isinstance(cause, TimeoutError) for cause in chain):
            if isinstance(exc, rex.ConnectTimeout):
                return RequestFailed(
                    "timeout",
                    f"{where} cannot be reached (no answer to the connection); correct the URL or open the firewall",
                )
            return self._timeout_error(url, limit)
        if any(isinstance(cause, ConnectionRefusedError) for cause in chain):
            return RequestFailed(
                "connect", f"nothing listens at {where} (connection refused); start the server or correct the URL"
            )
        if any(type(cause).__name__ == "NewConnectionError" for cause in chain):
            return RequestFailed("connect", f"{where} cannot be reached ({reason}); check URL and network")
        if isinstance(exc, _TooLong):
            return RequestFailed(
                "stream",
                f"{where} answered with more than {exc.limit >> 20} MB, which is no answer "
                "of a vLLM server; correct the URL",
            )
        if any(isinstance(cause, (ValueError, HTTPException)) for cause in chain):
            reason = "the connection was closed"  # http.client speaks of chunk sizes instead
        return RequestFailed(
            "stream", f"{where} broke the answer off ({reason}); look at the engine's log, and at proxies between"
        )


def not_json_text(where: str, body: bytes) -> str:
    """The sentence for an answer that should have been JSON."""
    kind = "an HTML page" if looks_like_html(body) else "something that is not JSON"
    return f"{where} answered with {kind}; see that the URL is a vLLM server's own, not a web page's or a proxy's"


def looks_like_html(body: bytes) -> bool:
    return body.lstrip()[:200].lower().startswith((b"<!doctype", b"<html", b"<head", b"<body", b"<?xml"))


class _TooLong(Exception):
    def __init__(self, limit: int):
        super().__init__("answer too long")
        self.limit = limit


@dataclass(frozen=True)
class _Limits:
    seconds: float
    size: int  # bytes


class _Work:
    """One exchange, run in a thread; leaves ``reply`` or ``failure``."""

    def __init__(
        self,
        session: Any,
        method: str,
        url: str,
        limits: _Limits,
        *,
        payload: Any,
        headers: dict[str, str],
        sink: Callable[[bytes, float], None] | None,
        sending: Callable[[float], None] | None,
    ):
        self.session, self.method, self.url, self.headers = session, method, url, headers
        self.body = None if payload is None else json.dumps(payload).encode()
        self.limits, self.sink, self.sending = limits, sink, sending
        self.end = time.monotonic() + limits.seconds
        self.abandoned = False
        self.reply: Reply | None = None
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            self.reply = self._exchange()
        except Exception as exc:  # every library error becomes an ERROR in the caller's thread
            self.failure = exc

    def _exchange(self) -> Reply:
        headers = {"Content-Type": "application/json", **self.headers} if self.body else self.headers
        limits = (min(CONNECT_TIMEOUT_S, self.limits.seconds), self.limits.seconds)
        request = self.session.prepare_request(requests.Request(self.method, self.url, data=self.body, headers=headers))
        settings = self.session.merge_environment_settings(request.url, {}, True, None, None)
        if self.sending:
            self.sending(time.perf_counter())
        with self.session.send(request, allow_redirects=False, timeout=limits, **settings) as response:
            reply = Reply(response.status_code, {k.lower(): v for k, v in response.headers.items()})
            good = response.status_code < 300
            limit = self.limits.size if good else min(self.limits.size, MAX_ERROR_BYTES)
            sink = self.sink if good else None
            pieces, size = [], 0
            for piece in _pieces(response.raw):
                now = time.perf_counter()
                size += len(piece)
                if self.abandoned or time.monotonic() > self.end:
                    raise TimeoutError("too slow")
                if size > limit:
                    if not good:
                        break
                    raise _TooLong(limit)
                pieces.append(piece)
                if sink:
                    sink(piece, now)
            reply.body = b"".join(pieces)
            return reply


def _pieces(raw: Any):
    """Bytes as they arrive, never waiting for a buffer to fill (urllib3 1.26 has no read1 of its own)."""
    read1 = getattr(raw, "read1", None) or raw._fp.read1
    while True:
        piece = read1(READ_PIECE)
        if not piece:
            return
        yield piece


def _causes(exc: BaseException):
    """The exception and what caused it, outermost first (requests keeps causes in args and reason)."""
    seen: set[int] = set()
    current: BaseException | None = exc
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        inner = getattr(current, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((arg for arg in current.args if isinstance(arg, BaseException)), None)
        current = inner or current.__cause__ or current.__context__


def _short(exc: BaseException) -> str:
    text = getattr(exc, "strerror", None) or getattr(exc, "verify_message", None) or str(exc) or type(exc).__name__
    return " ".join(str(text).split())[:160]


def _tls_text(where: str, reason: str) -> str:
    lowered = reason.lower()
    if "wrong version number" in lowered or "record layer" in lowered or "unknown protocol" in lowered:
        return f"{where} does not speak TLS; write http:// in the URL"
    if "certificate" in lowered or "self-signed" in lowered or "self signed" in lowered or "hostname" in lowered:
        return f"the certificate of {where} is not trusted ({reason}); give its CA with kv_reuse_ca_cert"
    return f"no TLS connection to {where} ({reason}); correct URL or certificates"


def _server_message(body: bytes) -> str:
    """What the server itself says about an error, on one line; nothing for HTML."""
    if looks_like_html(body):
        return "an HTML page"
    try:
        message = json.loads(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        message = body.decode("utf-8", "replace")
    for key in ("error", "message", "detail"):
        if isinstance(message, dict) and message.get(key):
            message = message[key]
    return (
        " ".join((message if isinstance(message, str) else json.dumps(message)).split())[: 10 * QUOTED]
        if message
        else ""
    )


def _is_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
        return True
    except ValueError:
        pass
    try:
        labels = host.encode("idna").decode().rstrip(".").split(".")
    except UnicodeError:
        return False
    if labels[-1].isdigit():  # an IPv4 address that is none, such as 10.0.0.999
        return False
    return all(re.fullmatch(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)", label) for label in labels)


def _shown(url: str) -> str:
    """A URL as messages show it, without what may be a secret in it: credentials, query and fragment."""
    shown = re.sub(r"^([a-zA-Z]*:?//)?[^/?#]*@", r"\1***@", re.sub(r"([?#]).*", r"\1***", url, flags=re.DOTALL))
    return repr(shown[:120])
