# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends a run's trace to the endpoint that OpenTelemetry's own environment variables name, through its SDK, which
nothing else wants."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from .parts import Verdict
from .views import trace

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_SPOKEN = "http/protobuf"
_AT_ONCE = 512  # spans of one request
_PACKAGE = "opentelemetry-exporter-otlp-proto-http"


def _endpoint(environ: Mapping[str, str]) -> str | None:
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none":
        return None
    return next((environ[name] for name in _ENDPOINTS if environ.get(name)), None)


def send(doc: Verdict, environ: Mapping[str, str]) -> str | None:
    """Sends the trace of a document, its texts harmless, where an endpoint is named.  A sentence where that failed."""
    to = _endpoint(environ)
    if not to:
        return None
    protocol = next((environ[name] for name in _PROTOCOLS if environ.get(name)), _SPOKEN)
    if protocol != _SPOKEN:
        return (
            f"the trace was not sent: OTEL_EXPORTER_OTLP_PROTOCOL is {protocol}, and kvproof speaks {_SPOKEN}: set "
            f"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL={_SPOKEN}, and OTEL_EXPORTER_OTLP_TRACES_ENDPOINT to the collector's "
            "port for it, such as http://collector:4318/v1/traces"
        )
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace.export import SpanExportResult
    except ImportError as error:
        return (
            f"the trace was not sent to {to}: {error.name} is not installed: pip install {_PACKAGE} "
            "where Ansible runs, or unset the endpoint; the reports have it as a file"
        )
    with _Listening() as said:
        try:
            exporter = OTLPSpanExporter()
            resource = Resource(trace.resource_of(doc)).merge(OTELResourceDetector().detect())
            made = [_readable(span, resource, doc["tool"]) for span in trace.spans(doc)]
            parts = [made[at : at + _AT_ONCE] for at in range(0, len(made), _AT_ONCE)]
            sent = all(exporter.export(part) is SpanExportResult.SUCCESS for part in parts)
            exporter.shutdown()  # type: ignore[no-untyped-call]
        except Exception as error:  # whatever a variable or a server makes of it, the verdict stands
            said.append(f"{type(error).__name__}: {error}")
            sent = False
    why = f" ({said[-1][:200]})" if said else ""
    return None if sent else f"the trace was not sent to {to}{why}; the reports have it as a file"


class _Listening:
    """Takes what the SDK logs, which else would stand amid Ansible's output."""

    def __enter__(self) -> list[str]:
        self._said: list[str] = []
        self._logger, self._handler = logging.getLogger("opentelemetry"), logging.Handler()
        self._handler.emit = lambda record: self._said.append(record.getMessage())  # type: ignore[method-assign]
        self._propagates, self._logger.propagate = self._logger.propagate, False
        self._logger.addHandler(self._handler)
        return self._said

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self._handler)
        self._logger.propagate = self._propagates


def _readable(span: trace.Span, resource: Resource, version: str) -> ReadableSpan:
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

    def context(span_id: str) -> SpanContext:
        return SpanContext(int(span.trace_id, 16), int(span_id, 16), False, TraceFlags(TraceFlags.SAMPLED))

    return ReadableSpan(
        span.name,
        context=context(span.span_id),
        parent=context(span.parent_id) if span.parent_id else None,
        resource=resource,
        attributes=span.attributes,
        events=[Event(name, timestamp=at) for at, name in span.events],
        kind=SpanKind.CLIENT if span.kind == trace.CLIENT else SpanKind.INTERNAL,
        status=Status(StatusCode(span.status), span.message or None),
        start_time=span.began,
        end_time=span.ended,
        instrumentation_scope=InstrumentationScope(trace.SCOPE, version),
    )
