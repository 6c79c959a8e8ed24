# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run on a rehearsal cluster with every format, in a job of GitLab's whose trace goes to a collector."""

from __future__ import annotations

import gzip
import json
import time

import pytest
import readers
import verdicts
from otlp_receiver import receiver
from rehearsal import ROOT
from validation import play, validated

pytest.importorskip("ansible")

ON = {"kv_reuse_formats": ["sarif", "trace"], "kv_reuse_bundle": True}
WITHIN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SWITCHED_OFF = {"d": {"lmcache": {"enable_p2p": False}}}


def test_a_failing_run_in_every_format(tmp_path):
    if missing := readers.missing():
        pytest.skip(f"not installed: {', '.join(missing)} (requirements-dev.txt)")
    began = time.time_ns()
    with receiver() as (url, sent):
        done = validated(
            tmp_path,
            SWITCHED_OFF,
            "-e",
            json.dumps(ON),
            GITLAB_CI="true",
            CI_PROJECT_DIR=str(tmp_path),
            OTEL_EXPORTER_OTLP_ENDPOINT=url,
            TRACEPARENT=WITHIN,
        )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "kv_reuse_report:" not in done.stderr
    reports = tmp_path / "reports"
    for name, reader in readers.READERS.items():
        assert name in done.stdout
        assert [*reader((reports / name).read_text())] == [], name

    [issue, *_] = json.loads((reports / "gl-code-quality-report.json").read_text())
    place = issue["location"]
    assert (issue["check_name"], place["path"]) == ("p2p-disabled", "hosts.json")
    assert '"node-d"' in (tmp_path / "hosts.json").read_text().splitlines()[place["lines"]["begin"] - 1]
    _same_place_in_sarif(json.loads((reports / "kv_reuse.sarif").read_text()), place)

    spans = readers.otlp_request((reports / "kv_reuse.otlp.json").read_text()).resource_spans[0].scope_spans[0].spans
    assert [span.span_id for span in sent[0][2].resource_spans[0].scope_spans[0].spans] == [s.span_id for s in spans]
    run, cluster, pair = spans[:3]
    assert (run.trace_id.hex(), run.parent_span_id.hex()) == tuple(WITHIN.split("-")[1:3])
    assert run.start_time_unix_nano <= cluster.start_time_unix_nano <= pair.start_time_unix_nano
    assert began <= pair.start_time_unix_nano
    assert pair.end_time_unix_nano <= cluster.end_time_unix_nano <= run.end_time_unix_nano <= time.time_ns()
    names = [span.name for span in spans]
    assert names.count("seed") == names.count("reuse") == names.count("knockout") == 3

    again = play(tmp_path, str(ROOT / "playbooks" / "diagnose.yml"), "-e", "bundle=reports/bundle.json.gz")
    assert "the same verdict.json as the run's, byte for byte" in " ".join(again.stdout.split()), again.stdout
    assert gzip.decompress((reports / "bundle.json.gz").read_bytes())


def _same_place_in_sarif(log: dict, place: dict):
    [result] = [one for one in log["runs"][0]["results"] if one["level"] == "error"]
    physical = result["locations"][0]["physicalLocation"]
    assert (physical["artifactLocation"]["uri"], physical["region"]["startLine"]) == (
        place["path"],
        place["lines"]["begin"],
    )


def test_a_run_that_asks_for_none_writes_none_and_sends_nothing(tmp_path):
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "kv_reuse.sarif").write_text("an earlier run's")
    done = validated(tmp_path, {}, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "trace" not in done.stderr
    names = {path.name for path in (tmp_path / "reports").iterdir()}
    assert not names & {"gl-code-quality-report.json", "kv_reuse.sarif", "kv_reuse.otlp.json"}
    assert '"probed"' not in (tmp_path / "reports" / "verdict.json").read_text()


def test_a_format_that_there_is_not_is_refused_in_a_sentence(tmp_path):
    done = validated(tmp_path, {}, "-e", "kv_reuse_formats=sarif,html")
    assert done.returncode == 2
    assert "codequality, sarif, trace" in done.stdout
    assert "html" in done.stdout


def test_merged_reports_have_the_formats_of_a_whole_fleet_but_for_the_trace(tmp_path):
    for number, name in enumerate(("sync_loading", "healthy")):
        (tmp_path / f"slice{number}").mkdir()
        doc = verdicts.document(verdicts.verdict(name), exit_code=0 if number else 2)
        (tmp_path / f"slice{number}" / "verdict.json").write_text(json.dumps(doc))
    merge = [str(ROOT / "playbooks" / "merge_reports.yml"), "-e", "reports=slice0,slice1"]
    done = play(tmp_path, *merge, "-e", "kv_reuse_formats=sarif,trace", GITLAB_CI="true")
    assert done.returncode == 2, done.stdout + done.stderr
    merged = tmp_path / "reports" / "merged"
    [issue] = json.loads((merged / "gl-code-quality-report.json").read_text())
    assert issue["check_name"] == "async-loading-off"
    assert json.loads((merged / "kv_reuse.sarif").read_text())["runs"][0]["results"]
    assert not (merged / "kv_reuse.otlp.json").exists()
