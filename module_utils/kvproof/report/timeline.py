# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""When each request of a pair's probe was sent and how long it took, for a trace of the run.

All times are the validator's: its clock for the beginnings, its stop watch for the durations.  Times in the nodes'
logs are by other clocks, and are not here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import urlsplit

from ..evidence import document as evidence
from .parts import Pair, Probed, Sent, Server

ROUTED, ROUTED_RECOMPUTE = "routed", "routed recompute"  # of the cluster, and in the evidence of each of its pairs
_OF_A_TRIAL = ("seed", "reuse", "knockout", "repeat")
_CONTROLS = ("never_seen", "recompute", "reference", "flush")


def timed(verdict: dict[str, Any], document: dict[str, Any]) -> Pair:
    """The verdict of a pair with what its evidence has of times; as it is where that has none."""
    probed = _probed(evidence.read(document)[0])
    return cast(Pair, {**verdict, "probed": probed} if probed else verdict)


def _probed(document: Any) -> Probed | None:
    probe = document.get("probe") or {}
    began_at, took_s = probe.get("started_at"), probe.get("duration_s")
    if began_at is None or took_s is None:
        return None
    engines = probe.get("engines") or {}
    urls = {role: (engines.get(role) or {}).get("url") for role in ("holder", "receiver")}
    urls["router"] = (probe.get("router") or {}).get("url")
    return {
        "began_at": began_at,
        "took_s": took_s,
        "model": (engines.get("receiver") or {}).get("model"),
        "servers": {role: server for role, url in urls.items() if (server := _server(url))},
        "sent": sorted(_sent(probe), key=lambda sent: sent["began_at"]),
    }


def _sent(probe: dict[str, Any]) -> Iterator[Sent]:
    for request in probe.get("warmup") or []:
        yield from _request(request)
    for index, trial in enumerate(probe.get("trials") or []):
        yield from _of_trial(trial, trial=index)
    for role in _CONTROLS:
        yield from _request(probe.get(role))
    for length in probe.get("lengths") or []:
        for trial in (length or {}).get("trials") or []:
            yield from _of_trial(trial, length=length.get("asked"))
    for routed in (probe.get("router") or {}).get("requests") or []:
        yield from _request((routed or {}).get("request"))
        for recompute in _request((routed or {}).get("recompute")):
            yield {**recompute, "what": ROUTED_RECOMPUTE}


def _of_trial(requests: dict[str, Any] | None, **within: int | None) -> Iterator[Sent]:
    requests = requests or {}
    for role in _OF_A_TRIAL:
        yield from _request(requests.get(role), **within)
    yield from _wait(requests.get("seed"), requests.get("visible"), **within)


def _wait(seed: dict[str, Any] | None, visible: dict[str, Any] | None, **within: int | None) -> Iterator[Sent]:
    """From the end of the seed until its KV was seen stored, or until nobody waited for it any longer."""
    waited_s = (visible or {}).get("waited_s")
    for seeded in _request(seed):
        if waited_s is not None and (visible or {}).get("how"):
            error = {} if (visible or {}).get("reached") else {"error": {"kind": "timeout"}}
            waited = {"role": "visible", "engine": "holder", **error}
            yield _entry(waited, seeded["began_at"] + seeded["took_s"], waited_s, **within)


def _request(request: dict[str, Any] | None, **within: int | None) -> Iterator[Sent]:
    """What is known of a request; nothing where it was not sent, or not timed."""
    request = request or {}
    if request.get("sent_at") is not None and request.get("total_s") is not None:
        yield _entry(request, request["sent_at"], request["total_s"], **within)


def _entry(
    request: dict[str, Any], began_at: float, took_s: float, trial: int | None = None, length: int | None = None
) -> Sent:
    return {
        "what": request.get("role") or "request",
        "trial": trial,
        "length": length,
        "engine": request.get("engine") or "receiver",
        "began_at": began_at,
        "took_s": took_s,
        "ttft_s": request.get("ttft_s"),
        "request_id": request.get("request_id"),
        "response_id": request.get("response_id"),
        "prompt_tokens": request.get("prompt_tokens"),
        "cached_tokens": request.get("cached_tokens"),
        "completion_tokens": request.get("completion_tokens"),
        "finish_reason": request.get("finish_reason"),
        "error": (request.get("error") or {}).get("kind"),
    }


def _server(url: str | None) -> Server | None:
    try:
        parts = urlsplit(url or "")
        return {"address": parts.hostname, "port": parts.port} if parts.hostname else None
    except ValueError:
        return None
