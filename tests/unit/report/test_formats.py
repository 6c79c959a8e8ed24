# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are written on request: what they say, and that tools of others read them for every recorded cluster."""

from __future__ import annotations

import json
from pathlib import Path

import documents
import pytest
import readers
import recordings as recording
import verdicts
from kvproof.judge.findings import all_findings
from kvproof.judge.verdict import judge
from kvproof.report import document, files, merge, views
from kvproof.report.timeline import timed
from kvproof.report.views import clean, codequality, sarif, trace

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "evidence"
PLACES = {"hosts": {"decode": {"path": "inventory/my hosts.yml", "line": 7}}, "otherwise": "reports/summary.md"}


def failing(**changes) -> dict:
    doc = verdicts.document(verdicts.verdict("sync_loading", **changes), exit_code=2)
    return {**doc, "places": PLACES}


def several() -> dict:
    """A failure, an inconclusive pair, a pass, one accepted, one not judged."""
    pairs = [*map(verdicts.verdict, ("sync_loading", "local_hit_decode", "healthy")), verdicts.waived(cluster="w")]
    return verdicts.document(*pairs, missing=1, exit_code=2)


def proven() -> dict:
    """A pair as a run probes it, with its times."""
    evidence = documents.pair()
    return timed(judge(evidence), evidence)


class TestReadByOthers:
    @pytest.fixture(autouse=True)
    def _packages(self):
        if missing := readers.missing():
            pytest.skip(f"not installed: {', '.join(missing)} (requirements-dev.txt)")

    @pytest.mark.parametrize(
        "doc",
        [
            several(),
            verdicts.document(exit_code=2),
            verdicts.document(verdicts.live(), proven(), exit_code=0),
            verdicts.run(verdicts.verdict("healthy")).document("incomplete"),
            failing(cluster="a/b\x1b[2J ]]> <&> ::error::\n"),
        ],
        ids=["several", "nothing", "pass", "incomplete", "hostile"],
    )
    def test_every_file(self, doc):
        assert readers.complaints(doc) == []

    def test_recorded_clusters(self):
        recorded = [json.loads(path.read_text())["evidence"] for path in sorted(FIXTURES.glob("*.json"))]
        if recording.RECORDINGS.is_dir():
            recorded += [recording.evidence(path.parent) for path in sorted(recording.RECORDINGS.glob("*/meta.json"))]
        assert len(recorded) >= 3
        pairs = [
            {**timed(judge(evidence), evidence), "cluster": f"c{number}"} for number, evidence in enumerate(recorded)
        ]
        assert readers.complaints(verdicts.document(*pairs, exit_code=2)) == []

    def test_a_reader_complains_of_what_is_wrong(self):
        doc, spoilt = failing(), {}
        for name, text, _ in views.files(doc, [*views.FORMATS]):
            spoilt[name] = text
        spoilt["verdict.json"] = spoilt["verdict.json"].replace('"fail"', '"green"')
        spoilt["junit.xml"] = spoilt["junit.xml"].replace("<testsuites ", '<testsuites skipped="0" ')
        spoilt["gl-code-quality-report.json"] = spoilt["gl-code-quality-report.json"].replace("critical", "worst")
        spoilt["kv_reuse.sarif"] = spoilt["kv_reuse.sarif"].replace('"ruleId"', '"rule"')
        for name in ("verdict.json", "junit.xml", "gl-code-quality-report.json", "kv_reuse.sarif"):
            assert [*readers.READERS[name](spoilt[name])], name
        with pytest.raises(pytest.importorskip("google.protobuf.json_format").ParseError, match="bogus"):
            [*readers.trace(spoilt["kv_reuse.otlp.json"].replace('"kind"', '"bogus"'))]
        with pytest.raises(ValueError, match="bogus"):
            [*readers.prometheus(spoilt["kv_reuse.prom"] + "# TYPE x bogus\n")]


class TestCodeQuality:
    def issues(self, doc: dict) -> list[dict]:
        return json.loads(codequality.render(clean.cleaned(doc)))

    def test_a_finding_is_an_issue_at_the_line_that_names_its_host(self):
        [issue] = self.issues(failing())
        assert issue["check_name"] == "async-loading-off"
        assert issue["severity"] == "critical"
        assert issue["location"] == {"path": "inventory/my hosts.yml", "lines": {"begin": 7}}
        assert issue["description"].startswith(
            "Asynchronous loading is off, so P2P is never asked (decode, pair prefill → decode of sync_loading): "
            "expected enable_async_loading: true, observed enable_async_loading: False"
        )
        assert "To do: Set enable_async_loading: true" in issue["description"]

    def test_a_host_that_the_project_does_not_name_stands_at_the_runs_summary(self):
        doc = failing()
        doc["places"] = {**PLACES, "hosts": {}}
        assert self.issues(doc)[0]["location"]["path"] == "reports/summary.md"

    def test_fingerprints_are_the_same_whatever_was_observed_and_differ_between_pairs(self):
        before, after = failing(), failing()
        after["clusters"][0]["pairs"][0]["findings"][0]["observed"] = "something else"
        prints = [self.issues(doc)[0]["fingerprint"] for doc in (before, after, failing(cluster="another"))]
        assert prints[0] == prints[1] != prints[2]

    def test_several_places_of_one_host_are_one_issue(self):
        doc = failing()
        findings = doc["clusters"][0]["pairs"][0]["findings"]
        findings.insert(1, {**findings[0], "observed": "and this"})
        [issue] = self.issues(doc)
        assert "; and this. To do" in issue["description"]

    def test_what_is_accepted_is_told_with_its_reason_and_notes_are_left_out(self):
        found = {issue["check_name"]: issue for issue in self.issues(several()) if "of w)" in issue["description"]}
        assert found["async-loading-off"]["severity"] == "info"
        assert found["async-loading-off"]["description"].endswith("Accepted: this node joins next week")
        assert "not-idle" not in {issue["check_name"] for issue in self.issues(several())}
        doc = verdicts.document(verdicts.verdict("local_hit_decode"), inconclusive="warn")
        assert {
            (i["severity"], "Accepted: kv_reuse_inconclusive: warn" in i["description"]) for i in self.issues(doc)
        } == {("info", True)}

    def test_what_was_not_judged_is_an_issue_and_a_pass_is_none(self):
        assert [issue["check_name"] for issue in self.issues(verdicts.document(missing=1, exit_code=2))] == [
            "not-judged"
        ]
        assert [issue["check_name"] for issue in self.issues(verdicts.document(exit_code=2))] == ["run-problem"]
        assert self.issues(verdicts.document(verdicts.verdict("healthy"), exit_code=0)) == []


class TestSarif:
    def run(self, doc: dict) -> dict:
        return json.loads(sarif.render(clean.cleaned(doc)))["runs"][0]

    def test_the_rules_are_the_findings_that_a_run_looks_for(self):
        rules = {rule["id"]: rule for rule in self.run(failing())["tool"]["driver"]["rules"]}
        assert set(rules) == {finding.slug for finding in all_findings() if finding.look}
        rule = rules["async-loading-off"]
        assert rule["name"] == "AsyncLoadingOff"
        assert rule["properties"]["page"] == "docs/findings/async-loading-off.md"
        assert rule["help"]["text"].startswith("Set enable_async_loading: true")

    def test_a_finding_is_a_result_at_its_host_within_its_pair_and_cluster(self):
        run = self.run(failing())
        [result] = [one for one in run["results"] if one["level"] == "error"]
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"] == "async-loading-off"
        [location] = result["locations"]
        assert location["physicalLocation"]["artifactLocation"]["uri"] == "inventory/my%20hosts.yml"
        assert location["physicalLocation"]["region"] == {"startLine": 7}
        place = run["logicalLocations"][location["logicalLocations"][0]["index"]]
        names = [place["name"]]
        while "parentIndex" in place:
            place = run["logicalLocations"][place["parentIndex"]]
            names.append(place["name"])
        assert names == ["decode", "prefill → decode", "sync_loading"]
        assert (
            result["partialFingerprints"]["kvproofFinding/v1"]
            == json.loads(codequality.render(failing()))[0]["fingerprint"]
        )

    def test_what_is_accepted_is_suppressed_with_its_reason(self):
        results = self.run(verdicts.document(verdicts.waived()))["results"]
        suppressed = {one["ruleId"]: one["suppressions"] for one in results if "suppressions" in one}
        assert suppressed == {
            "async-loading-off": [
                {"kind": "external", "status": "accepted", "justification": "this node joins next week"}
            ]
        }

    def test_the_invocation_has_times_exit_code_and_what_no_finding_tells(self):
        [invocation] = self.run(verdicts.document(missing=1, exit_code=2))["invocations"]
        assert invocation["executionSuccessful"] is False
        assert (invocation["startTimeUtc"], invocation["exitCode"]) == ("2026-11-24T02:24:29Z", 2)
        [told] = invocation["toolExecutionNotifications"]
        assert (told["level"], told["descriptor"]["id"]) == ("error", "not-judged")
        assert told["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] == "demo/p0 → d0"

    def test_a_failing_pair_is_a_successful_execution(self):
        [invocation] = self.run(failing())["invocations"]
        assert (invocation["executionSuccessful"], invocation["exitCode"]) == (True, 2)


class TestTrace:
    def test_the_run_holds_its_cluster_pair_trials_and_requests(self):
        spans = {span.span_id: span for span in trace.spans(verdicts.document(proven()))}

        def path(span) -> list[str]:
            return [*(path(spans[span.parent_id]) if span.parent_id else []), span.name]

        paths = [path(span) for span in spans.values()]
        pair = ["kv_reuse", "cluster demo", "pair prefill-1 → decode-1"]
        assert paths[:3] == [pair[:1], pair[:2], pair]
        for names in (["warmup"], ["never_seen"], ["recompute"]):
            assert [*pair, *names] in paths
        for trial in ("trial 1", "trial 2", "trial 3"):
            inside = [names[-1] for names in paths if names[:-1] == [*pair, trial]]
            assert sorted(inside) == ["knockout", "reuse", "seed", "wait until visible"]

    def test_times_are_those_of_the_evidence(self):
        evidence = documents.pair()
        trial = evidence["probe"]["trials"][0]
        spans = {
            (span.name, span.parent_id): span
            for span in trace.spans(verdicts.document(timed(judge(evidence), evidence)))
        }
        [first] = [span for span in spans.values() if span.name == "trial 1"]
        seed, reuse, wait = (spans[name, first.span_id] for name in ("seed", "reuse", "wait until visible"))
        assert seed.began == round(trial["seed"]["sent_at"] * 1e6) * 1000
        assert seed.ended - seed.began == pytest.approx(trial["seed"]["total_s"] * 1e9, abs=2000)
        assert wait.began == pytest.approx(seed.ended, abs=2000)
        assert wait.ended - wait.began == pytest.approx(trial["visible"]["waited_s"] * 1e9, abs=2000)
        assert reuse.events == [(pytest.approx(reuse.began + trial["reuse"]["ttft_s"] * 1e9, abs=2000), "first token")]
        assert (first.began, first.ended) == (
            min(span.began for span in spans.values() if span.parent_id == first.span_id),
            max(span.ended for span in spans.values() if span.parent_id == first.span_id),
        )

    def test_attributes_have_the_names_that_opentelemetry_gives(self):
        conventions = pytest.importorskip("opentelemetry.semconv._incubating.attributes.gen_ai_attributes")
        servers = pytest.importorskip("opentelemetry.semconv.attributes.server_attributes")
        known = {value for part in (conventions, servers) for value in vars(part).values() if isinstance(value, str)}
        [reuse, *_] = [span for span in trace.spans(verdicts.document(proven())) if span.name == "reuse"]
        named = {name for name in reuse.attributes if not name.startswith("kvproof.")}
        assert named <= known, named - known
        assert reuse.attributes["server.address"] == "127.0.0.97"
        assert reuse.attributes["server.port"] == 8000
        assert reuse.attributes["gen_ai.usage.cache_read.input_tokens"] == documents.HIT
        assert reuse.attributes["kvproof.request.id"] == f"kvp-{documents.RUN}-0-reuse"

    def test_a_status_is_the_verdicts(self):
        missed = documents.setting(documents.pair(*("missed",) * 3), "receiver", "enable_p2p", False)
        pairs = {"good": proven(), "bad": {**timed(judge(missed), missed), "cluster": "bad"}}
        waived = {**pairs["bad"], "cluster": "accepted", "waived": True}
        spans = trace.spans(verdicts.document(*pairs.values(), waived, exit_code=2))
        status = {span.attributes["kvproof.cluster"]: span for span in spans if span.name.startswith("pair ")}
        assert {name: span.status for name, span in status.items()} == {
            "demo": trace.OK,
            "bad": trace.ERROR,
            "accepted": trace.UNSET,
        }
        assert status["bad"].message == document.headline(pairs["bad"])
        assert status["bad"].attributes["kvproof.findings"] == ["p2p-disabled"]
        assert spans[0].status == trace.ERROR

    def test_what_was_not_timed_has_no_span(self):
        assert [span.name for span in trace.spans(verdicts.document(verdicts.verdict("healthy")))] == ["kv_reuse"]

    def test_it_is_a_part_of_the_pipelines_own_trace(self):
        given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        root = trace.spans(verdicts.document(proven(), traceparent=given))[0]
        assert (root.trace_id, root.parent_id) == tuple(given.split("-")[1:3])
        for odd in ("", "nonsense", "00-" + "0" * 32 + "-b7ad6b7169203331-01"):
            assert trace.spans(verdicts.document(proven(), traceparent=odd))[0].parent_id is None

    def test_requests_through_the_router_are_the_clusters_and_there_once(self):
        pairs = [proven(), {**proven(), "receiver": "decode-2"}]
        for pair in pairs:
            pair["probed"] = {**pair["probed"], "sent": [*pair["probed"]["sent"], *routed(pair["probed"]["sent"][0])]}
        spans = trace.spans(verdicts.document(*pairs))
        [cluster] = [span for span in spans if span.name == "cluster demo"]
        assert [span.name for span in spans if span.name.startswith("routed")] == ["routed", "routed recompute"]
        assert {span.parent_id for span in spans if span.name.startswith("routed")} == {cluster.span_id}


def routed(sent: dict) -> list[dict]:
    later = {**sent, "began_at": sent["began_at"] + 60}
    return [{**later, "what": "routed", "engine": "router"}, {**later, "what": "routed recompute"}]


class TestFiles:
    def test_what_is_not_asked_for_is_not_written_and_an_earlier_runs_is_removed(self, tmp_path):
        doc = failing()
        written, problems = files.write(tmp_path, doc, ["codequality", "sarif", "trace"])
        assert problems == []
        assert {*written} == {*views.NAMES, "gl-code-quality-report.json", "kv_reuse.sarif", "kv_reuse.otlp.json"}
        written, _ = files.write(tmp_path, doc, ["sarif"])
        assert {path.name for path in tmp_path.iterdir()} == {*written} == {*views.NAMES, "kv_reuse.sarif"}
        files.remove(tmp_path)
        assert not tmp_path.exists()

    def test_a_job_of_gitlabs_gets_code_quality_without_asking(self):
        assert views.asked([], {"GITLAB_CI": "true"}) == ["codequality"]
        assert views.asked(["trace", "sarif"], {"GITLAB_CI": "true"}) == ["codequality", "sarif", "trace"]
        assert views.asked([], {}) == []

    def test_merged_reports_keep_the_places_of_their_hosts(self):
        one, other = failing(cluster="a"), failing(cluster="b")
        other["places"] = {"hosts": {"x": {"path": "i", "line": 1}}, "otherwise": "r"}
        merged = merge.merge([merge.Source("one", one), merge.Source("other", other)], [])
        assert merged["places"] == {"hosts": {**PLACES["hosts"], "x": {"path": "i", "line": 1}}, "otherwise": "r"}
