# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A trace that is sent to an endpoint is the one in the file; where it cannot be sent, one sentence says why."""

from __future__ import annotations

import os
import sys

import documents
import pytest
import readers
import verdicts
from kvproof.judge.verdict import judge
from kvproof.report import otlp
from kvproof.report.timeline import timed
from kvproof.report.views import trace
from otlp_receiver import receiver

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.fixture
def doc() -> dict:
    evidence = documents.pair()
    return verdicts.document(timed(judge(evidence), evidence), exit_code=0)


@pytest.fixture
def environ(monkeypatch):
    """Sets variables of OpenTelemetry, for the SDK reads the process's own, and returns them."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)

    def given(**variables: str) -> dict[str, str]:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return variables

    return given


def test_what_is_sent_is_what_the_file_has(doc, environ):
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="not installed (requirements-dev.txt)")
    with receiver() as (url, sent):
        assert otlp.send(doc, environ(**{ENDPOINT: url, "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=kv"})) is None
    [(path, headers, request)] = sent
    assert path == "/v1/traces"
    assert headers["x-tenant"] == "kv"
    file = readers.otlp_request(trace.render(doc))
    [received], [written] = request.resource_spans, file.resource_spans
    for part in (received, written):
        for span in part.scope_spans[0].spans:
            span.flags = 0  # which the exporter sets, and which say nothing of the span
    assert received.scope_spans == written.scope_spans
    assert len(received.scope_spans[0].spans) > 15
    assert {pair.key: pair.value.string_value for pair in received.resource.attributes}["service.name"] == "kvproof"


def test_the_operators_name_of_the_service_counts(doc, environ):
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="not installed (requirements-dev.txt)")
    with receiver() as (url, sent):
        assert otlp.send(doc, environ(**{ENDPOINT: url, "OTEL_SERVICE_NAME": "rollout-check"})) is None
    [resource] = [resource.resource for resource in sent[0][2].resource_spans]
    assert {pair.key: pair.value.string_value for pair in resource.attributes}["service.name"] == "rollout-check"


def test_a_server_that_refuses_is_told_in_a_sentence(doc, environ, capfd):
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="not installed (requirements-dev.txt)")
    with receiver(status=403) as (url, _):
        said = otlp.send(doc, environ(**{ENDPOINT: url}))
    assert said.startswith(f"the trace was not sent to {url} (")
    assert "403" in said
    assert said.endswith("; the reports have it as a file")
    assert capfd.readouterr() == ("", "")


def test_a_package_that_is_missing_is_named(doc, environ, monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    said = otlp.send(doc, environ(**{ENDPOINT: "http://kv:hunter22@127.0.0.1:9"}))
    assert "hunter22" not in said
    assert "pip install opentelemetry-exporter-otlp-proto-http where Ansible runs, or unset the endpoint" in said


def test_another_protocol_is_told_what_is_spoken(doc):
    said = otlp.send(doc, {ENDPOINT: "http://127.0.0.1:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
    assert "OTEL_EXPORTER_OTLP_PROTOCOL is grpc, and kvproof speaks http/protobuf" in said


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {ENDPOINT: "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"},
        {ENDPOINT: "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"},
    ],
    ids=["nowhere", "disabled", "none"],
)
def test_nothing_is_sent_where_the_environment_says_so(doc, environ, monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry", None)  # it would be missed
    assert otlp.send(doc, environ) is None
