# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small, bounded GET requests from a node to services beside it.

No proxies, no redirects, no credentials.  Only GET is possible here; which paths are harmless is the
caller's knowledge.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
import urllib.error
import urllib.request
from collections import namedtuple

MAX_BYTES = 4 << 20

#: `state` is ok, refused, timeout or error; `status` the HTTP status, None without an answer; `text` a
#: sentence on what went wrong; `body` bytes of a 2xx answer.
Answer = namedtuple("Answer", "state status text body")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args, **_kwargs):
        return None


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects)


def get(url: str, timeout: float = 2.0, max_bytes: int = MAX_BYTES) -> Answer:
    """GET `url` and return an Answer within `timeout` seconds, however slowly the server drips; never raises."""
    if not url.startswith(("http://", "https://")):
        return Answer("error", None, "the URL must begin with http:// or https://", None)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(_get(url, timeout, max_bytes)), daemon=True)
    thread.start()
    thread.join(timeout + 0.1)
    return answers[0] if answers else Answer("timeout", None, "no whole answer in time", None)


def _get(url, timeout, max_bytes):
    try:
        with _OPENER.open(
            urllib.request.Request(url, headers={"Accept": "application/json"}), timeout=timeout
        ) as response:
            body = response.read(max_bytes + 1)
            if len(body) > max_bytes:
                return Answer("error", response.status, f"more than {max_bytes} bytes", None)
            return Answer("ok", response.status, None, body)
    except urllib.error.HTTPError as error:
        error.close()
        return Answer("error", error.code, f"HTTP {error.code}", None)
    except urllib.error.URLError as error:
        return _failed(error.reason)
    except (OSError, ValueError) as error:
        return _failed(error)
    except http.client.HTTPException as error:
        return Answer("error", None, f"no HTTP answer: {type(error).__name__}", None)


def _failed(reason):
    if isinstance(reason, (socket.timeout, TimeoutError)):
        return Answer("timeout", None, "no answer in time", None)
    if isinstance(reason, ConnectionRefusedError):
        return Answer("refused", None, "connection refused", None)
    return Answer("error", None, str(getattr(reason, "strerror", None) or reason)[:200], None)


def get_json(url: str, timeout: float = 2.0) -> tuple[Answer, object]:
    """(Answer, decoded JSON); the latter None, and the state `not-json`, for what is no JSON."""
    answer = get(url, timeout)
    if answer.state != "ok":
        return answer, None
    try:
        return answer, json.loads(answer.body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return answer._replace(state="not-json", text="the answer is not JSON"), None
