# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""kv_reuse.otlp.json: the run as an OpenTelemetry trace, in OTLP's JSON on one line, as collectors read it from files.

The run holds its clusters, a cluster its pairs, a pair its trials, lengths and controls, and these their requests.
Attributes have the names of OpenTelemetry's semantic conventions where there are some, and else begin with ``kvproof``.
Times are those of the evidence (report/timeline.py); what has none has no span.  Ids follow from the run's, so that
the file and what is sent to an endpoint (report/otlp.py) are one trace.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ...judge.verdict import PASS
from .. import document
from ..parts import Cluster, Pair, Probed, Sent, Verdict
from ..timeline import ROUTED, ROUTED_RECOMPUTE

INTERNAL, CLIENT = 1, 3  # SpanKind of OTLP
UNSET, OK, ERROR = 0, 1, 2  # its StatusCode
SCOPE = "kvproof"
OF_THE_CLUSTER = (ROUTED, ROUTED_RECOMPUTE)
# pylint: disable=unsupported-binary-operation  # which it takes the oldest Python for that Ansible has
Part = tuple[int | None, int | None]  # a trial's index, or a length
Attribute = str | bool | int | float | list[str]
# pylint: enable=unsupported-binary-operation
_PARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")  # W3C trace context
_ZEROS = frozenset(("0" * 32, "0" * 16))


@dataclass
class Span:
    """Ids are hexadecimal, times nanoseconds since the epoch."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str | None
    began: int
    ended: int
    kind: int = INTERNAL
    attributes: dict[str, Attribute] = field(default_factory=dict)
    events: list[tuple[int, str]] = field(default_factory=list)
    status: int = UNSET
    message: str = ""


def render(doc: Verdict) -> str:
    scope = {"name": SCOPE, "version": doc["tool"]}
    resource = {"attributes": _attributes(resource_of(doc))}
    scoped = {"scope": scope, "spans": [_in_json(span) for span in spans(doc)]}
    return json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [scoped]}]}) + "\n"


def resource_of(doc: Verdict) -> dict[str, Attribute]:
    return {"service.name": SCOPE, "service.version": doc["tool"]}


def spans(doc: Verdict) -> list[Span]:
    """Of the whole run, a parent before what it holds."""
    given = _PARENT.fullmatch(doc.get("traceparent", ""))
    given = given if given and not _ZEROS & set(given.groups()) else None
    trace_id = given.group(1) if given else _id(16, "trace", doc["run_id"] or "", doc["started_at"])
    root = Span("kv_reuse", trace_id, _id(8, trace_id, "run"), given.group(2) if given else None, 0, 0)
    root.began = _ns(datetime.fromisoformat(doc["started_at"]).timestamp())
    finished_at = doc["finished_at"]
    root.ended = _ns(datetime.fromisoformat(finished_at).timestamp()) if finished_at else root.began
    outcome = document.outcome(doc)
    root.attributes = {
        "kvproof.verdict": doc["verdict"] or "incomplete",
        "kvproof.pairs": outcome["pairs"],
        "kvproof.pairs.passed": outcome["passed"],
        "kvproof.pairs.failed": outcome["failed"],
        **({"kvproof.run.id": doc["run_id"]} if doc["run_id"] else {}),
        **({"kvproof.exit_code": doc["exit_code"]} if doc["exit_code"] is not None else {}),
    }
    root.status, root.message = _status(doc["verdict"] == PASS, doc["run_fails"], "; ".join(doc["problems"][:1]))
    inner = [span for cluster in doc["clusters"] for span in _cluster(doc, cluster, root)]
    root.ended = max([root.ended, *(span.ended for span in inner)])  # the run's own times are whole seconds
    return [root, *inner]


def _cluster(doc: Verdict, cluster: Cluster, root: Span) -> Iterator[Span]:
    timed = [(pair, probed) for pair in cluster["pairs"] if (probed := pair.get("probed"))]
    if not timed:
        return
    span = _within(root, f"cluster {cluster['name']}", cluster["name"])
    span.attributes = {"kvproof.cluster": cluster["name"], "kvproof.verdict": cluster["verdict"]}
    fails = document.fails(cluster["verdict"], doc["inconclusive"])
    span.status, span.message = _status(cluster["verdict"] == PASS, fails, document.cluster_line(cluster))
    inner = [part for pair, probed in timed for part in _pair(doc, pair, probed, span)]
    routed = [sent for sent in timed[0][1]["sent"] if sent["what"] in OF_THE_CLUSTER]  # the same in each of its pairs
    inner += [_request(sent, timed[0][1], span, f"routed {number}") for number, sent in enumerate(routed)]
    _spread(span, inner)
    yield span
    yield from inner


def _pair(doc: Verdict, pair: Pair, probed: Probed, cluster: Span) -> Iterator[Span]:
    span = _within(cluster, f"pair {document.pair_name(pair)}", pair["holder"], pair["receiver"])
    span.began, span.ended = _ns(probed["began_at"]), _ns(probed["began_at"] + probed["took_s"])
    broken = pair["first_broken"]
    span.attributes = {
        "kvproof.cluster": pair["cluster"],
        "kvproof.holder": pair["holder"],
        "kvproof.receiver": pair["receiver"],
        "kvproof.verdict": pair["verdict"],
        "kvproof.waived": pair["waived"],
        "kvproof.findings": [finding["slug"] for finding in document.decisive(pair)],
        **({"kvproof.architecture": pair["architecture"]} if "architecture" in pair else {}),
        **({"kvproof.broken_link": broken["link"], "kvproof.broken_link.name": broken["name"]} if broken else {}),
    }
    fails = document.pair_fails(pair, doc["inconclusive"])
    span.status, span.message = _status(pair["verdict"] == PASS, fails, document.headline(pair))
    inner: list[Span] = []
    parts: dict[Part, list[Sent]] = {}
    for sent in probed["sent"]:
        if sent["what"] not in OF_THE_CLUSTER:
            parts.setdefault((sent["trial"], sent["length"]), []).append(sent)
    for of, group in parts.items():
        inner += _part(pair, probed, span, of, group)
    span.ended = max([span.ended, *(part.ended for part in inner)])
    yield span
    yield from inner


def _part(pair: Pair, probed: Probed, parent: Span, of: Part, sent: list[Sent]) -> list[Span]:
    """A trial or a length with its requests; outside of both, those of the warm-up and the controls."""
    trial, length = of
    if trial is None and length is None:
        return [_request(one, probed, parent, f"{number}") for number, one in enumerate(sent)]
    called = f"trial {trial + 1}" if trial is not None else f"length {length}"
    span = _within(parent, called, called)
    if trial is not None and trial < len(pair["trials"]):
        judged = pair["trials"][trial]
        outcome = judged["outcome"]
        span.attributes = {"kvproof.trial": trial + 1, "kvproof.outcome": outcome}
        span.attributes |= {f"kvproof.tokens.{key}": judged[key] for key in _TOKENS if judged[key] is not None}  # type: ignore[literal-required]
        span.status, span.message = _status(outcome == "proven", outcome != "unknown", outcome)
    elif length is not None:
        span.attributes = {"kvproof.length": length}
    inner = [_request(one, probed, span, f"{number}") for number, one in enumerate(sent)]
    _spread(span, inner)
    return [span, *inner]


_TOKENS = ("expected", "stored", "loaded")


def _request(sent: Sent, probed: Probed, parent: Span, *path: str) -> Span:
    """One request, or the wait for a store, in which many small ones ask whether it is visible."""
    waits = sent["what"] == "visible"
    span = _within(parent, "wait until visible" if waits else sent["what"], sent["what"], *path)
    span.began, span.ended = _ns(sent["began_at"]), _ns(sent["began_at"] + sent["took_s"])
    span.attributes = {"kvproof.request": sent["what"], "kvproof.engine": sent["engine"]}
    if not waits:
        span.kind = CLIENT
        span.attributes |= _conventional(sent, probed)
        if sent["ttft_s"] is not None:
            span.events.append((_ns(sent["began_at"] + sent["ttft_s"]), "first token"))
    if sent["error"]:
        span.attributes["error.type"] = sent["error"]
        span.status, span.message = ERROR, sent["error"]
    return span


def _conventional(sent: Sent, probed: Probed) -> dict[str, Attribute]:
    """What OpenTelemetry has names for, and this request's id, which stands in the engines' logs."""
    server = probed["servers"].get(sent["engine"])
    named: dict[str, Attribute | None] = {
        "gen_ai.operation.name": "text_completion",
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": probed["model"],
        "gen_ai.response.id": sent["response_id"],
        "gen_ai.response.finish_reasons": [sent["finish_reason"]] if sent["finish_reason"] else None,
        "gen_ai.usage.input_tokens": sent["prompt_tokens"],
        "gen_ai.usage.cache_read.input_tokens": sent["cached_tokens"],
        "gen_ai.usage.output_tokens": sent["completion_tokens"],
        "server.address": server["address"] if server else None,
        "server.port": server["port"] if server else None,
        "kvproof.request.id": sent["request_id"],
        "kvproof.ttft_s": sent["ttft_s"],
    }
    return {name: value for name, value in named.items() if value is not None}


def _status(passes: bool, fails: bool, message: str) -> tuple[int, str]:
    return (OK, "") if passes else (ERROR, message) if fails else (UNSET, "")


def _within(parent: Span, name: str, *path: str) -> Span:
    span_id = _id(8, parent.trace_id, parent.span_id, *path)
    return Span(name, parent.trace_id, span_id, parent.span_id, parent.began, parent.began)


def _spread(span: Span, inner: Iterable[Span]) -> None:
    """From the first to the last of what is in it."""
    parts = list(inner)
    span.began, span.ended = min(part.began for part in parts), max(part.ended for part in parts)


def _id(size: int, *names: str) -> str:
    return hashlib.sha256("\0".join(names).encode()).hexdigest()[: 2 * size]


def _ns(seconds: float) -> int:
    return round(seconds * 1e6) * 1000  # the evidence has microseconds


def _in_json(span: Span) -> dict[str, Any]:
    return {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        **({"parentSpanId": span.parent_id} if span.parent_id else {}),
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": str(span.began),
        "endTimeUnixNano": str(span.ended),
        "attributes": _attributes(span.attributes),
        "events": [{"timeUnixNano": str(at), "name": name} for at, name in span.events],
        "status": {"code": span.status, **({"message": span.message} if span.message else {})},
    }


def _attributes(named: dict[str, Attribute]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in named.items()]


def _value(value: Attribute) -> dict[str, Any]:
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(item) for item in value]}}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}  # 64 bits, as Protobuf's JSON has them
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": value}
