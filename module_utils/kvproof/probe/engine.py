# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one engine tells over HTTP before any prompt is sent: the documents ENGINE and INTERNAL."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from ..stack import internal_api
from ..stack.numbers import whole
from ..stack.settings import lmcache_config, lmcache_meta
from ..transport.http import Deadline, HttpClient, RequestFailed, UrlError, check_engine_url, check_url
from ..transport.ssh_route import SshSettings
from . import metrics
from .document import empty_engine

CONTACT_TIMEOUT_S = 10.0
INTERNAL_TIMEOUT_S = 2.0
MOST_MODELS = 256
NOT_ASKED = ("ssh", "deadline")  # errors that say nothing about an engine
LONGEST_NAME = 512  # characters of a model's name or path
MOST_BACKENDS = 64


@dataclass
class EngineSettings:
    """One side of a pair as the operator describes it.  ``role`` is holder or receiver."""

    role: str
    name: str
    url: str
    metrics_url: str | None = None
    model: str | None = None
    api_key: str | None = None
    ca_cert: str | None = None
    verify_tls: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    proxy: str | None = None
    internal_api_url: str | None = None
    mp_url: str | None = None  # its cache server, in multiprocess mode
    mp_instances: list[str] = field(default_factory=list)  # as what the engine's ranks registered there, by its log
    log_file: str | None = None
    tokenizer: str | None = None
    ssh: SshSettings | None = None  # reach it through this host
    recognised: dict[str, str | None] | None = None  # options.RECOGNISED; None: nobody looked

    def __post_init__(self) -> None:
        """Raises UrlError with one sentence for a URL that is none."""
        self.url = check_engine_url(self.url, f"{self.role}.url")
        for name in ("metrics_url", "internal_api_url", "mp_url", "proxy"):
            if getattr(self, name):
                setattr(self, name, check_url(getattr(self, name), f"{self.role}.{name}"))
        if self.ssh and self.proxy:
            raise UrlError(f"{self.role} has both ssh and a proxy: leave one of them out")

    def client(self, deadline: Deadline, tunnel: Any = None, base: str | None = None) -> HttpClient:
        """A client for the engine, or for another of its servers, which never gets the key."""
        way = {"ca_cert": self.ca_cert, "verify_tls": self.verify_tls, "proxy": self.proxy, "tunnel": tunnel}
        if base:
            return HttpClient(base, deadline, **way)
        return HttpClient(self.url, deadline, self.api_key, self.headers, **way)


class Engine:
    """One engine: its settings, its connection and ``document``, the evidence ENGINE that grows."""

    def __init__(self, settings: EngineSettings, deadline: Deadline, note: Callable[[str, dict[str, Any]], None]):
        self.settings, self._deadline, self._note = settings, deadline, note
        self.tunnel = open_tunnel(settings.ssh, deadline)
        self.http = settings.client(deadline, self.tunnel)
        self.document = empty_engine(settings)

    def contact(self) -> None:
        """First contact: health, models, version and the internal API where its URL is known."""
        document = self.document
        try:
            document["health"] = {"status": self.http.get("/health", CONTACT_TIMEOUT_S).status}
            document["reachable"] = True
        except RequestFailed as exc:
            # Any HTTP answer means that something is there, even one that says no; without a tunnel nothing was asked.
            document["reachable"] = None if exc.error["kind"] in NOT_ASKED else exc.error["status"] is not None
            document["health"] = {"status": exc.error["status"]} if document["reachable"] else None
            document["error"] = exc.error
            self._note(f"{self.settings.role}.health", exc.error)
        if document["reachable"]:
            self._read_models()
            self._read_version()
        if self.settings.internal_api_url:
            document["internal"] = read_internal(self.beside(self.settings.internal_api_url))

    def scrape(self, timeout: float = metrics.TIMEOUT_S) -> dict[str, Any]:
        """METRICS of now; the key goes along only where the page is the engine's own."""
        url = self.settings.metrics_url or self.settings.url + "/metrics"
        own = url.startswith(self.settings.url + "/")
        return metrics.scrape(self.http if own else self.beside(url), url, timeout)

    def close(self) -> None:
        """Ends the tunnel, where there is one, after a last look at what it costs."""
        if self.tunnel:
            self.tunnel.measure()
            self.document["tunnel"] = self.tunnel.document()
            self.tunnel.close()

    def beside(self, base: str) -> HttpClient:
        """A client for another server of the engine's host."""
        return self.settings.client(self._deadline, self.tunnel, base)

    def lacks(self) -> str | None:
        """Why no prompt can be sent here: a word for ``errors``, None when one can."""
        if not self.document["reachable"]:
            return "unreachable"
        return None if self.document["model"] else "model-not-served"

    def conf(self, key: str) -> Any:
        """An effective LMCache setting from the internal API, None where unknown."""
        return ((self.document["internal"] or {}).get("conf") or {}).get(key)

    def _read_models(self) -> None:
        document, model = self.document, self.settings.model
        try:
            answer = self.http.get_json("/v1/models", CONTACT_TIMEOUT_S)
        except RequestFailed as exc:
            self._note(f"{self.settings.role}.models", exc.error)
            document["error"] = document["error"] or exc.error
            return
        cards = answer.get("data") if isinstance(answer, dict) else None
        cards = [card for card in (cards if isinstance(cards, list) else [])[:MOST_MODELS] if _is_card(card)]
        document["models"] = [card["id"] for card in cards]
        card = next((card for card in cards if model in (None, card["id"])), None)
        if card is None:
            names = ", ".join(document["models"][:5]) or "none"
            self._note(
                f"{self.settings.role}.models",
                {
                    "kind": "http",
                    "status": 200,
                    "text": f"{self.http.base} does not serve the model {model or '(any)'} (it serves: {names}); "
                    "correct kv_reuse_model or MODEL_NAME",
                },
            )
            return
        document["model"] = card["id"]
        document["model_root"] = card["root"][:LONGEST_NAME] if isinstance(card.get("root"), str) else None
        document["max_model_len"] = whole(card.get("max_model_len"), 1)

    def _read_version(self) -> None:
        try:
            answer = self.http.get_json("/version", CONTACT_TIMEOUT_S)
        except RequestFailed:
            return  # proxies seldom pass it on, and nothing depends on it
        version = answer.get("version") if isinstance(answer, dict) else None
        self.document["version"] = version[:64] if isinstance(version, str) else None


def _is_card(card: Any) -> bool:
    """Whether an entry of /v1/models names a model."""
    return isinstance(card, dict) and isinstance(card.get("id"), str) and len(card["id"]) <= LONGEST_NAME


def open_tunnel(ssh: SshSettings | None, deadline: Deadline) -> Any:
    """A tunnel that its first use opens, None where none is wanted."""
    if ssh is None:
        return None
    from ..transport.ssh_tunnel import Tunnel  # and with it paramiko, which takes its time to load

    return Tunnel(ssh, deadline)


def read_internal(http: HttpClient) -> dict[str, Any]:
    """INTERNAL, with the keys that cannot hold a secret.  A server that does not answer quickly is left alone; vLLM's
    version is left to the engine's own /version."""
    internal: dict[str, Any] = {
        "url": http.base,
        "conf": None,
        "meta": None,
        "backends": None,
        "versions": {"lmcache": None, "vllm": None},
        "error": None,
    }
    try:
        conf = http.get_json(internal_api.CONF_LISTED, INTERNAL_TIMEOUT_S)
        internal["conf"] = lmcache_config(conf) or None
    except RequestFailed as exc:
        internal["error"] = exc.error
        return internal
    internal["meta"] = lmcache_meta(_get(http, internal_api.META_LISTED))
    backends = _get(http, internal_api.BACKENDS)
    internal["backends"] = (
        {str(k)[:80]: str(v)[:80] for k, v in itertools.islice(backends.items(), MOST_BACKENDS)}
        if isinstance(backends, dict)
        else None
    )
    internal["versions"]["lmcache"] = internal_api.version(_get(http, internal_api.VERSION))
    return internal


def side_by_side(*calls: Callable[[], None]) -> None:
    """Runs calls that concern different engines at the same time; every engine has one request at a time."""
    with ThreadPoolExecutor(len(calls)) as pool:
        for future in [pool.submit(call) for call in calls]:
            future.result()


def _get(http: HttpClient, target: str) -> Any:
    try:
        return http.get_json(target, INTERNAL_TIMEOUT_S)
    except RequestFailed:
        return None
