"""Every view of a document: what it shows, and that nothing from an engine gets out of its place."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
import xml.etree.ElementTree as ET

import pytest
import verdicts
from hypothesis import given, strategies
from kvproof.report import document, files, views
from kvproof.report.run import Run
from kvproof.report.views import clean, console, figures, page, wrap

HOSTILE = (
    "\x1b[2J\x1b]0;owned\x07 a\r\nb \u202eevil\u202c \x9b31m ]]> </details><script>alert(1)</script> "
    "| `x` [l](javascript:1) & \x00 \ufffe \ud800 {{ 7 * 7 }}"
)

UNMEASURED = {**dict.fromkeys(verdicts.verdict("healthy")["timing"]), "lengths": []}


def shown(doc: dict, **options) -> str:
    return "\n".join("".join(text for text, _ in line) for line in console.lines(doc, **options))


def rendered(doc: dict) -> dict[str, str]:
    found = {name: (text, error) for name, text, error in views.files(doc, [*views.FORMATS])}
    assert {name: error for name, (_, error) in found.items() if error} == {}
    return {name: text for name, (text, _) in found.items()}


class TestConsole:
    def test_a_chain_has_a_line_for_each_link(self):
        text = shown(verdicts.document(verdicts.verdict("sync_loading"), exit_code=2))
        assert "   ✓  3 cache layer up    LMCache up with a P2P backend on both" in text
        assert "   ✗  4 configured alike  Asynchronous loading is off" in text
        assert "   –  8 announced         key count not seen" in text
        assert len(re.findall(r"^   [✓✗?–] +\d", text, re.M)) == 13

    def test_inferred_is_said(self):
        assert "   ✓  8 announced         (inferred) the receiver loaded" in shown(
            verdicts.document(verdicts.verdict("healthy"))
        )

    def test_a_finding_has_all_that_is_needed_to_act(self):
        text = shown(verdicts.document(verdicts.verdict("sync_loading")))
        told = text[text.index(" ✗ async-loading-off  Asynchronous") :]
        for label, value in (
            ("on", "decode"),
            ("expected", "enable_async_loading: true"),
            ("observed", "enable_async_loading: False (effective, internal API)"),
            ("why", "the receiver's lookup never reaches the controller"),
            ("do", "Set enable_async_loading: true on every node"),
            ("waive with", "kv_reuse_waive: [{finding: async-loading-off, reason: …}]"),
            ("more", "docs/findings/async-loading-off.md"),
        ):
            assert f"      {label:<11}{value}" in told

    def test_order_is_chains_clusters_findings_verdict(self):
        doc = verdicts.document(verdicts.verdict("sync_loading"), verdicts.verdict("healthy"), exit_code=2)
        text = shown(doc, places=["/x/reports"])
        marks = ["healthy: prefill → decode  PASS", "sync_loading: prefill → decode  FAIL", "cluster healthy  PASS"]
        marks += ["cluster sync_loading  FAIL", " ✗ async-loading-off", "To know", "\nFAIL  1 of 2 pairs passed"]
        marks += ["\nreports    /x/reports", "\nexit code 2  a pair failed"]
        places = [text.index(mark) for mark in marks]
        assert places == sorted(places)

    def test_inconclusive_is_as_loud_as_a_failure(self):
        doc = verdicts.document(verdicts.verdict("local_hit_decode"), exit_code=2)
        text = shown(doc)
        assert "local_hit_decode: prefill → decode  INCONCLUSIVE: reused-locally-not-p2p" in text
        assert " ? reused-locally-not-p2p  The KV came from the receiver's own cache" in text
        assert "\nINCONCLUSIVE  0 of 1 pairs passed; reused-locally-not-p2p on decode" in text
        assert {style for line in console.lines(doc) for text, style in line if "INCONCLUSIVE" in text} == {"doubt"}

    def test_the_same_finding_on_many_hosts_is_told_once(self):
        text = shown(verdicts.document(*verdicts.named("sync_loading", 3)))
        assert text.count(" ✗ async-loading-off  ") == 1

    def test_notes_take_a_line_over_all_hosts(self):
        text = shown(verdicts.document(verdicts.verdict("healthy")), width=400)
        line = " · not-idle on prefill, decode: Other traffic ran during the probe: 2 others finished meanwhile, "
        assert f"{line}3 others finished meanwhile; counters include other traffic" in text

    def test_of_many_pairs_those_that_pass_are_counted(self):
        pairs = [*verdicts.named("healthy", 20), *verdicts.named("sync_loading", 2)]
        text = shown(verdicts.document(*pairs))
        assert "2 of 2 fresh prompts proven to be reused" not in text
        assert len(re.findall(r"^   [✓✗?–] +\d", text, re.M)) == 26
        assert "cluster fleet  FAIL  22 pairs: 20 pass, 2 fail; at link 4 (configured alike) async-loading-off" in text

    def test_of_many_failing_pairs_the_first_show_their_chain(self):
        text = shown(verdicts.document(*verdicts.named("sync_loading", 30)))
        assert len(re.findall(r"^   [✓✗?–] +\d", text, re.M)) == 8 * 13
        assert text.count("  FAIL at link 4 (configured alike)") == 30

    def test_a_failure_shows_its_chain_before_what_is_inconclusive(self):
        text = shown(verdicts.document(*verdicts.named("local_hit_decode", 9), *verdicts.named("sync_loading", 2)))
        chains = re.findall(r"^fleet: (\w+)-p\d+ → .*\n(?: .*\n)*? +[✓✗?–] +1 reachable", text, re.M)
        assert chains == ["local_hit_decode"] * 6 + ["sync_loading"] * 2

    def test_of_many_clusters_those_that_pass_are_counted(self):
        text = shown(verdicts.document(*fleet(20)))
        assert "\n18 more clusters  PASS  18 pairs: 18 pass\ncluster c7  INCONCLUSIVE  1 pair: 1 inc" in text
        assert text.count("\ncluster ") == 2
        assert re.findall(r"\nc(\d+): prefill", text) == ["7", "13"]

    def test_few_clusters_are_shown_one_by_one(self):
        assert shown(verdicts.document(*fleet(8))).count("\ncluster ") == 8

    def test_a_finding_seen_differently_on_many_hosts_is_not_told_without_end(self):
        pairs = verdicts.named("sync_loading", 30)
        for number, pair in enumerate(pairs):
            pair["findings"][0].update(observed=f"on {number}", host=f"d{number}")
        text = shown(verdicts.document(*pairs), width=200)
        assert text.count("      observed   on ") == document.PLACES
        hosts = ", ".join(f"d{n}" for n in range(12, 24))
        assert f"      and        18 more like these: {hosts} and 6 more; see verdict.json" in text
        for name in ("index.html", "summary.md"):
            assert "18 more like these" in rendered(verdicts.document(*pairs))[name]

    def test_pairs_that_were_not_judged_or_not_probed_are_there(self):
        skipped = [{"cluster": "demo", "holder": "a", "receiver": "b", "reason": "kv_reuse_pairs: cover"}]
        text = shown(verdicts.document(missing=1, skipped=skipped))
        assert "cluster demo  INCONCLUSIVE  1 pair: 1 not judged" in text
        assert " ? p0 → d0 not judged: its verdict task did not run" in text
        assert " · not probed: demo: a → b: kv_reuse_pairs: cover" in text
        assert "\nINCONCLUSIVE  0 of 1 pairs passed" in text

    def test_a_waiver_is_shown_with_its_reason(self):
        text = shown(verdicts.document(verdicts.waived()))
        assert "sync_loading: prefill → decode  FAIL (waived)" in text
        assert "      waived     this node joins next week" in text
        assert "waive with" not in text

    def test_problems_stand_with_the_verdict(self):
        run = Run(verdicts.STARTED)
        run.plan({"pairs": []}, failed=True, text="no decode node: the group kv_decode is empty")
        text = shown(run.document("complete", verdicts.FINISHED, 2))
        assert " ✗ no decode node: the group kv_decode is empty\nINCONCLUSIVE  no pair was judged" in text

    def test_an_exit_code_of_0_is_no_pass_where_the_run_is_none(self):
        text = shown(verdicts.document(verdicts.verdict("sync_loading"), exit_code=0))
        assert text.endswith("exit code 0  no pass: no task failed, but this run proved less than it should")

    def test_a_remark_on_the_evidence_is_told(self):
        pair = verdicts.verdict("healthy", check_errors=["p2p-disabled: KeyError: 'x'"])
        text = shown(verdicts.document(pair))
        assert " · about the evidence of prefill → decode: p2p-disabled: KeyError: 'x'" in text

    def test_a_remark_that_a_finding_tells_is_not_told_twice(self):
        pair = verdicts.verdict("sync_loading")
        pair["check_errors"] = [pair["findings"][0]["observed"]]
        assert "about the evidence" not in shown(verdicts.document(pair))

    @pytest.mark.parametrize("width", [80, 100])
    def test_no_line_is_wider_than_asked(self, width):
        doc = verdicts.document(*(verdicts.live(name) for name in ("healthy", "local_hit_decode", "sync_loading")))
        assert max(len(line) for line in shown(doc, width=width).splitlines()) <= width

    def test_short_leaves_out_what_passes_chains_and_figures(self):
        text = shown(verdicts.document(*fleet(4), verdicts.verdict("sync_loading")), how="short", width=80)
        assert not re.search(r"^   [✓✗?–] +\d", text, re.M)
        assert re.findall(r"^(\w+): prefill → decode  (\w+)", text, re.M) == [("sync_loading", "FAIL")]
        assert " ✗ async-loading-off  " in text
        assert "cluster c0  PASS  1 pair: 1 pass" in text
        assert "To know" not in text
        assert "\nFAIL  4 of 5 pairs passed; async-loading-off on" in text

    def test_the_end_of_a_failure_is_verdict_cause_reports_and_the_command_to_look_closer(self):
        closer = "less /a/long/folder/of/reports/that/is/never/broken/however/long/it/may/be/summary.md"
        doc = verdicts.document(verdicts.verdict("sync_loading"), exit_code=2)
        end = shown(doc, places=["/x/reports"], closer=closer, width=80).rpartition("═\n")[2].splitlines()
        assert end[0].startswith("FAIL  0 of 1 pairs passed; async-loading-off on decode: ")
        assert [line.split()[0] for line in end[2:5]] == ["reports", "look", "exit"]
        assert end[3] == f"look closer  {closer}"

    def test_a_pass_has_no_command_to_look_closer(self):
        assert "look closer" not in shown(verdicts.document(verdicts.verdict("healthy"), exit_code=0), closer="less x")

    def test_plain_is_ascii_and_keeps_the_marks_apart(self):
        text = clean.plain(shown(verdicts.document(verdicts.verdict("sync_loading"))))
        assert text.isascii()
        assert "   +  3 cache layer up" in text
        assert "   X  4 configured alike" in text


class TestWrap:
    def test_columns_are_those_that_a_terminal_needs(self):
        wcwidth = pytest.importorskip("wcwidth", reason="wcwidth is not installed")
        for text in ("plain", "キャッシュ再利用", "ｶﾅ", "か\u3099", "é e\u0301", "✓ ✗ – → …", "（全角）"):
            assert wrap.columns(text) == wcwidth.wcswidth(text)

    @pytest.mark.parametrize(
        "value",
        [
            "kv_reuse_waive: [{finding: async-loading-off, reason: …}]",
            "chunk_size 256",
            "enable_p2p: True,",
            "52 ms",
            "1.36 GB/s;",
            "95 % interval 2.44 to 6.77x",
            "512 of 512 tokens",
        ],
    )
    def test_no_value_is_broken(self, value):
        for before in range(1, 70):
            lines = wrap.wrapped(f"{'x' * before} {value} and so on", 70)
            assert [value in line for line in lines].count(True) == 1
            assert max(map(wrap.columns, lines)) <= 70

    def test_a_value_that_fits_no_line_is_broken_between_words_and_a_word_is_not(self):
        assert wrap.wrapped("[{finding: aaaa, reason: bbbb}]", 14) == ["[{finding:", "aaaa, reason:", "bbbb}]"]
        assert wrap.wrapped("see /a/path/that/is/long now", 10) == ["see", "/a/path/that/is/long", "now"]

    def test_japanese_is_as_wide_as_asked_and_whole(self):
        text = "キャッシュが再利用されませんでした" * 8
        lines = wrap.wrapped(text, 40, used=7, indent="     ")
        assert "".join(line.strip() for line in lines) == text
        assert wrap.columns(lines[0]) <= 33
        assert all(38 < wrap.columns(line) <= 40 for line in lines[1:-1])

    @given(strategies.text(), strategies.integers(1, 90), strategies.integers(0, 30))
    def test_nothing_is_lost(self, text, width, used):
        clean_text = clean.line(text)
        lines = wrap.wrapped(clean_text, width, used)
        assert "".join("".join(lines).split()) == "".join(clean_text.split())


class TestFigures:
    def test_all_figures_of_a_live_pair(self):
        assert figures.lines(verdicts.live()) == [
            ("prefill", "1.07 s on prefill (TTFT of the seed, 1051 tokens)"),
            ("TTFT", "52 ms reused, 187 ms recomputed on decode (3.60x, 95 % interval 3.1 to 4.2x; median of 3)"),
            ("between tokens", "ITL 4 ms, 95 % within 5 ms, at most 9 ms; TPOT 4.1 ms, at most 4.4 ms on decode"),
            (
                "KV",
                "visible after 61 ms, at most 80 ms; transfer 9 ms at 1.36 GB/s; load 2.1 ms at 0.94 GB/s",
            ),
            (
                "lengths",
                "1054 tokens 60 ms reused, 50 ms recomputed (0.83x, 95 % interval 0.5 to 3x); "
                "4126 tokens 80 ms reused, 200 ms recomputed (2.50x, 95 % interval 0.5 to 3x); "
                "16384 skipped: too long; reuse is faster from about 1250 tokens on (between 1054 and 4126)",
            ),
            ("answer", '"cocococococococococococococococo" (16 tokens, finish reason length)'),
            ("counters", "prefill: num_hit_tokens +0, retrieve_hit_rate 1 now"),
            ("counters", "decode: num_hit_tokens +2048, retrieve_hit_rate 1 now"),
        ]

    def test_a_second_request_that_reused_nothing_is_not_called_reused(self):
        assert (
            dict(figures.lines(verdicts.verdict("sync_loading")))["TTFT"] == "1.6 s on decode, not known to be reused"
        )

    def test_a_counter_that_has_not_risen_beside_a_proven_reuse_is_not_flushed(self):
        pair = verdicts.verdict("healthy")
        pair["counters"]["receiver"]["num_hit_tokens"] = 0.0
        assert figures.lines(pair)[-1][1].startswith("decode: num_hit_tokens +0 (not flushed yet)")

    def test_what_was_not_measured_is_left_out(self):
        nothing = dict.fromkeys(verdicts.verdict("healthy")["counters"]["holder"])
        counters = {"holder": nothing, "receiver": nothing}
        pair = verdicts.verdict("healthy", trials=[], answer=None, counters=counters, timing=UNMEASURED)
        assert figures.lines(pair) == []
        assert figures.COUNTERS_NOTE not in shown(verdicts.document(pair), width=1000)

    def test_the_note_on_counters_is_told_once(self):
        text = shown(verdicts.document(*verdicts.named("healthy", 3)), width=1000)
        assert text.count(figures.COUNTERS_NOTE) == 1

    def test_an_answer_without_end_or_text_is_told(self):
        answer = {"text": "", "finish_reason": None, "completion_tokens": 0}
        lines = dict(figures.lines(verdicts.verdict("healthy", answer=answer)))
        assert lines["answer"] == "no text (0 tokens, no finish reason)"

    def test_a_long_answer_is_cut(self):
        answer = {"text": "word " * 80, "finish_reason": "length", "completion_tokens": 64}
        line = dict(figures.lines(verdicts.verdict("healthy", answer=answer)))["answer"]
        assert len(line) < 180
        assert '…" (64 tokens' in line


def fleet(count: int) -> list[dict]:
    """A pair for each cluster: c7 inconclusive, c13 failing, the others passing."""
    names = {7: "local_hit_decode", 13: "sync_loading"}
    return [verdicts.verdict(names.get(n, "healthy"), cluster=f"c{n}") for n in range(count)]


class TestClean:
    def test_terminal_sequences_and_invisible_characters_lose_their_power(self):
        text = clean.line(HOSTILE)
        assert text.isprintable()
        assert text.startswith("a b \\u202eevil\\u202c \\x9b31m ]]>")

    def test_letters_of_any_script_stay(self):
        assert clean.line("  キャッシュ\n再利用　✓ é ") == "キャッシュ 再利用 ✓ é"

    def test_a_long_text_is_cut(self):
        assert clean.line("x" * 1000) == "x" * 599 + "…"

    def test_a_whole_document_is_cleaned_and_left_as_it_was(self):
        doc = {"a": [HOSTILE, 1, None, {"b": (True, "x\n")}]}
        assert clean.cleaned(doc) == {"a": [clean.line(HOSTILE), 1, None, {"b": [True, "x"]}]}
        assert doc["a"][0] == HOSTILE


class TestPagesOfAFleet:
    """What failed stands at the top of a page, whatever the size of the fleet."""

    def test_what_failed_comes_first(self):
        texts = rendered(verdicts.document(*fleet(40)))
        for name, word, passing in (("index.html", ">{}<", "c0"), ("summary.md", "| {} |", "38 more")):
            clusters = [texts[name].index(word.format(one)) for one in ("c13", "c7", passing)]
            assert clusters == sorted(clusters)
            pairs = [texts[name].index(f"c{n}: prefill → decode") for n in (13, 7, 0, 2, 10, 39)]
            assert pairs == sorted(pairs)
            assert texts[name].index("async-loading-off:") < pairs[0]


def hostile() -> dict:
    """A document with hostile text wherever text comes from outside."""
    pair = verdicts.live("sync_loading", answer={"text": HOSTILE, "finish_reason": HOSTILE, "completion_tokens": 3})
    for key in ("observed", "reason", "host"):
        pair["findings"][0][key] = HOSTILE
    pair["links"][4]["text"] = HOSTILE
    run = verdicts.run(pair, missing=1, notes=[HOSTILE])
    run.failure("d0", HOSTILE, HOSTILE)
    return run.document("complete", verdicts.FINISHED, 2)


class TestHostileText:
    def test_console(self):
        text = shown(hostile())
        assert all(line.isprintable() for line in text.splitlines())
        assert "\x1b" not in text

    def test_verdict_json_is_ascii_and_keeps_the_text(self):
        text = rendered(hostile())["verdict.json"]
        assert text.isascii()
        assert json.loads(text)["notes"] == [HOSTILE]

    def test_html_and_markdown(self):
        texts = rendered(hostile())
        for name in ("index.html", "summary.md"):
            assert texts[name].count("<script") == (name == "index.html")  # its own
            assert "&lt;script&gt;alert(1)&lt;/script&gt;" in texts[name]
            assert "{{ 7 * 7 }}" in texts[name].replace("\\", "")
        assert texts["summary.md"].count("</details>") == texts["summary.md"].count("<details")
        assert "\\| \\`x\\` \\[l\\](javascript:1)" in texts["summary.md"]

    def test_xml_and_metrics_can_be_read(self):
        texts = rendered(hostile())
        assert "]]> </details><script>" in ET.fromstring(texts["junit.xml"]).find(".//failure").text
        families = pytest.importorskip("prometheus_client.parser").text_string_to_metric_families
        hosts = {s.labels["host"] for f in families(texts["kv_reuse.prom"]) for s in f.samples if "host" in s.labels}
        assert clean.line(HOSTILE) in hosts


class TestJunit:
    def suites(self, doc: dict) -> ET.Element:
        return ET.fromstring(rendered(doc)["junit.xml"].encode())

    def test_a_pass_is_a_case_with_its_chain(self):
        root = self.suites(verdicts.document(verdicts.verdict("healthy"), exit_code=0))
        assert [root.get(key) for key in ("tests", "failures", "errors")] == ["1", "0", "0"]
        assert root.find("testsuite").get("name") == "kv_reuse.healthy"
        chain = root.find(".//testcase[@name='prefill → decode']/system-out").text.splitlines()
        assert len(chain) == 13
        assert chain[7].startswith("✓  8 announced: holds (inferred): the receiver loaded")
        assert chain[12].startswith("? 13 worth it: unknown: ")

    def test_a_failure_is_counted_once(self):
        root = self.suites(verdicts.document(verdicts.verdict("sync_loading"), exit_code=2))
        assert [root.get(key) for key in ("tests", "failures", "errors")] == ["1", "1", "0"]
        case = root.find(".//testcase[@name='prefill → decode']")
        failure = case.find("failure")
        assert failure.get("type") == "fail"
        assert failure.get("message").startswith("at link 4 (configured alike): async-loading-off: ")
        assert failure.text.startswith(failure.get("message")), "GitLab shows the text alone"
        assert "do: Set enable_async_loading: true" in failure.text
        assert "✗  4 configured alike: broken: " in case.find("system-out").text

    def test_times_are_those_of_the_requests_and_of_the_run(self):
        root = self.suites(verdicts.document(verdicts.verdict("healthy")))
        asked = 2.0629 + 1.8788 + 0.0772 + 0.0521
        assert float(root.find(".//testcase").get("time")) == pytest.approx(asked, abs=0.001)
        assert float(root.find("testsuite").get("time")) == pytest.approx(asked, abs=0.001)
        assert root.get("time") == "12.000"

    def test_a_reader_of_others_reads_it(self):
        reader = pytest.importorskip("junitparser", reason="junitparser is not installed")
        skipped = [{"cluster": "demo", "holder": "a", "receiver": "b", "reason": "--limit"}]
        pairs = [*map(verdicts.verdict, ("healthy", "sync_loading", "local_hit_decode")), verdicts.waived(cluster="w")]
        read = reader.JUnitXml.fromstring(
            rendered(verdicts.document(*pairs, missing=1, skipped=skipped))["junit.xml"].encode()
        )
        assert (read.tests, read.failures, read.errors) == (6, 1, 2)
        assert sum(suite.skipped for suite in read) == 2
        results = {
            f"{suite.name} {case.name}": [(type(r).__name__, r.type) for r in case.result]
            for suite in read
            for case in suite
        }
        assert results == {
            "kv_reuse.demo p0 → d0": [("Error", "not-judged")],
            "kv_reuse.healthy prefill → decode": [],
            "kv_reuse.local_hit_decode prefill → decode": [("Error", "inconclusive")],
            "kv_reuse.sync_loading prefill → decode": [("Failure", "fail")],
            "kv_reuse.w prefill → decode": [("Skipped", None)],
            "kv_reuse.not_probed a → b": [("Skipped", None)],
        }
        read.update_statistics()
        assert (read.tests, read.failures, read.errors, read.skipped) == (6, 1, 2, 2)

    def test_inconclusive_is_an_error(self):
        root = self.suites(verdicts.document(verdicts.verdict("local_hit_decode"), exit_code=2))
        assert root.get("failures") == "0"
        assert root.find(".//testcase[@name='prefill → decode']/error").get("type") == "inconclusive"

    @pytest.mark.parametrize(
        ("doc", "word"),
        [
            (verdicts.document(verdicts.verdict("local_hit_decode"), inconclusive="warn"), "accepted"),
            (verdicts.document(verdicts.waived()), "waived (this node joins next week)"),
        ],
    )
    def test_what_the_operator_accepts_is_skipped(self, doc, word):
        root = self.suites(doc)
        assert (root.get("failures"), root.get("errors")) == ("0", "0")
        assert word in root.find(".//testcase[@name='prefill → decode']/skipped").get("message")

    def test_unjudged_is_an_error_and_unprobed_is_skipped(self):
        skipped = [{"cluster": "demo", "holder": "a", "receiver": "b", "reason": "--limit"}]
        root = self.suites(verdicts.document(missing=1, skipped=skipped))
        assert root.find(".//testcase[@name='p0 → d0']/error").get("type") == "not-judged"
        assert root.find(".//testcase[@name='a → b']/skipped").get("message") == "--limit"

    def test_a_run_that_has_not_ended_is_an_error(self):
        root = self.suites(Run(verdicts.STARTED).document("incomplete"))
        assert root.get("errors") == "1"
        assert root.find(".//error").get("type") == "incomplete"

    def test_counts_are_those_of_the_cases(self):
        root = self.suites(verdicts.document(*map(verdicts.verdict, ("healthy", "sync_loading")), missing=1))
        for suite in root:
            assert int(suite.get("tests")) == len(suite.findall("testcase"))
            assert int(suite.get("skipped")) == len(suite.findall(".//skipped"))


class TestPrometheus:
    def samples(self, doc: dict) -> dict:
        families = pytest.importorskip("prometheus_client.parser").text_string_to_metric_families
        found = {}
        for family in families(rendered(doc)["kv_reuse.prom"]):
            for sample in family.samples:
                found.setdefault(sample.name, []).append((sample.labels, sample.value))
        return found

    def test_verdicts(self):
        pairs = map(verdicts.verdict, ("healthy", "sync_loading", "local_hit_decode"))
        found = self.samples(verdicts.document(*pairs, missing=1))
        assert {labels["cluster"]: value for labels, value in found["kv_reuse_verdict"]} == {
            "healthy": 1,
            "sync_loading": 0,
            "local_hit_decode": -1,
            "demo": -1,
        }

    def test_links_times_and_prompts(self):
        found = self.samples(verdicts.document(verdicts.live()))
        links = {labels["link"]: value for labels, value in found["kv_reuse_link_state"]}
        assert (links["8"], links["13"]) == (1, -1)
        ttft = {labels["request"]: value for labels, value in found["kv_reuse_ttft_seconds"]}
        assert ttft == {"seed": 1.07005, "reused": 0.052, "recomputed": 0.187}
        assert found["kv_reuse_finished_timestamp_seconds"] == [({}, 1795487081)]
        assert [(labels["outcome"], value) for labels, value in found["kv_reuse_fresh_prompts"]] == [("proven", 2)]

    def test_what_was_measured(self):
        found = self.samples(verdicts.document(verdicts.live()))
        speedup = {labels["bound"]: value for labels, value in found["kv_reuse_speedup_ratio"]}
        assert speedup == {"median": 3.596, "low": 3.1, "high": 4.2}
        itl = {labels["stat"]: value for labels, value in found["kv_reuse_itl_seconds"]}
        assert itl == {"median": 0.004, "p95": 0.005, "max": 0.009}
        assert {labels["stat"] for labels, _ in found["kv_reuse_tpot_seconds"]} == {"median", "max"}
        assert found["kv_reuse_transfer_bytes_per_second"][0][1] == 1.36 * 2**30
        lengths = {
            (labels["tokens"], labels["request"]): value for labels, value in found["kv_reuse_length_ttft_seconds"]
        }
        assert lengths[("4126", "reused")] == 0.08
        assert len(lengths) == 4  # the third was skipped
        assert found["kv_reuse_break_even_tokens"][0][1] == 1250

    def test_what_was_not_measured_is_absent(self):
        found = self.samples(verdicts.document(verdicts.verdict("sync_loading", timing=UNMEASURED)))
        assert not {"kv_reuse_speedup_ratio", "kv_reuse_itl_seconds", "kv_reuse_break_even_tokens"} & set(found)

    def test_links_that_were_not_reached_are_absent(self):
        found = self.samples(verdicts.document(verdicts.verdict("sync_loading")))
        assert {labels["link"] for labels, _ in found["kv_reuse_link_state"]} == {str(n) for n in range(1, 8)}

    def test_a_run_that_has_not_ended_says_so(self):
        found = self.samples(Run(verdicts.STARTED).document("incomplete"))
        assert found["kv_reuse_run_complete"] == [({}, 0)]
        assert found["kv_reuse_run_failed"] == [({}, 1)]
        assert "kv_reuse_verdict" not in found
        assert "kv_reuse_finished_timestamp_seconds" not in found


class TestPages:
    def test_settings_stand_side_by_side_where_they_matter(self):
        rows = [
            {"setting": "chunk_size", "holder": "256", "receiver": "128", "differs": True},
            {"setting": "kv_dtype", "holder": "bf16<b>", "receiver": None, "differs": None},
        ]
        failed = rendered(verdicts.document(verdicts.verdict("sync_loading", settings=rows)))["index.html"]
        assert '<tr class="differs"><td>chunk_size</td><td>256</td><td>128</td><td>differs</td></tr>' in failed
        assert "<td>kv_dtype</td><td>bf16&lt;b&gt;</td><td>?</td>" in failed
        passed = rendered(verdicts.document(verdicts.verdict("healthy", settings=rows)))["index.html"]
        assert "<td>chunk_size</td>" in passed
        assert "<td>kv_dtype</td>" not in passed, "what a pair that passes has alike needs no room"

    @pytest.mark.parametrize("name", ["summary.md", "index.html"])
    def test_they_show_verdict_chain_findings_and_figures(self, name):
        doc = verdicts.document(verdicts.live("sync_loading"), verdicts.verdict("healthy"), missing=1, exit_code=2)
        text = rendered(doc)[name]
        for part in (
            "FAIL",
            "INCONCLUSIVE",
            "PASS",
            "async-loading-off",
            "kv_reuse_waive: [{finding: async",
            "p0 → d0",
        ):
            assert part in text
        for part in ("52 ms reused, 187 ms recomputed", "configured alike", "no transfer seen for this id", "not-idle"):
            assert part in text

    def test_html_needs_nothing_from_elsewhere(self):
        text = rendered(verdicts.document(verdicts.verdict("sync_loading"), verdicts.live()))["index.html"]
        assert re.findall(r"src=|@import|url\(|style=|https?://", text) == []
        targets = re.findall(r'href="([^"]*)"', text)
        assert {target[1:] for target in targets} <= set(re.findall(r'id="([^"]*)"', text))
        assert all(target.startswith("#") for target in targets)

    def test_html_allows_its_own_script_and_style_alone(self):
        text = rendered(verdicts.document(verdicts.verdict("healthy")))["index.html"]
        policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text).group(1)
        assert policy.startswith("default-src 'none'; base-uri 'none'; form-action 'none'; ")
        for tag in ("style", "script"):
            own = re.search(f"<{tag}>(.*?)</{tag}>", text, re.S).group(1)
            digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
            assert f"{tag}-src 'sha256-{digest}'" in policy

    @pytest.mark.parametrize("name", ["summary.md", "index.html"])
    def test_incomplete_is_said(self, name):
        text = rendered(Run(verdicts.STARTED).document("incomplete"))[name]
        assert "INCOMPLETE" in text
        assert "The run has not ended, so nothing is proven." in text
        assert "PASS" not in text

    def test_many_passing_pairs_take_a_line_each_in_the_summary(self):
        text = rendered(verdicts.document(*verdicts.named("healthy", 20)))["summary.md"]
        assert "<details" not in text
        assert text.count("- fleet: ") == 20


class TestFiles:
    def test_all_are_written_and_nothing_else(self, tmp_path):
        written, problems = files.write(tmp_path / "a" / "b", verdicts.document(verdicts.verdict("healthy")))
        assert (sorted(written), problems) == (sorted(views.NAMES), [])
        assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == sorted(views.NAMES)

    def test_a_view_that_cannot_be_made_loses_its_old_file_and_stops_no_other(self, tmp_path, monkeypatch):
        (tmp_path / "kv_reuse.prom").write_text("old")
        monkeypatch.setitem(sys.modules, "prometheus_client", None)
        written, problems = files.write(tmp_path, verdicts.document(verdicts.verdict("healthy")))
        assert "kv_reuse.prom" not in written
        assert len(written) == len(views.NAMES) - 1
        assert not (tmp_path / "kv_reuse.prom").exists()
        assert problems[0].startswith("kv_reuse.prom was not made: ModuleNotFoundError")

    def test_a_folder_that_cannot_be_made_is_told(self, tmp_path):
        (tmp_path / "file").write_text("")
        written, problems = files.write(tmp_path / "file" / "reports", {})
        assert written == []
        assert problems == [f"cannot make the folder {tmp_path / 'file' / 'reports'}: Not a directory"]

    def test_a_name_that_is_taken_by_a_folder_is_told_and_leaves_no_rest(self, tmp_path):
        (tmp_path / "verdict.json").mkdir()
        written, problems = files.write(tmp_path, verdicts.document(verdicts.verdict("healthy")))
        assert "verdict.json" not in written
        assert problems == [f"cannot write {tmp_path / 'verdict.json'}: Is a directory"]
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []

    def test_remove_takes_back_its_own_and_leaves_the_rest(self, tmp_path):
        folder = tmp_path / "reports"
        files.write(folder, verdicts.document(verdicts.verdict("healthy")))
        (folder / "mine.txt").write_text("")
        files.remove(folder)
        assert [path.name for path in folder.iterdir()] == ["mine.txt"]


def test_headline_names_place_and_reason():
    assert document.headline(verdicts.verdict("sync_loading")) == (
        "FAIL sync_loading: prefill → decode at link 4 (configured alike): "
        "async-loading-off: Asynchronous loading is off, so P2P is never asked [decode]"
    )
    assert document.headline(verdicts.verdict("healthy")) == (
        "PASS healthy: prefill → decode: 2 of 2 fresh prompts proven to be reused"
    )


def test_a_page_of_failures_alone_stays_small_and_pictures_the_first_of_them():
    broken = verdicts.verdict("sync_loading")
    names = [{"cluster": f"c{n}", "holder": f"p-{n}", "receiver": f"d-{n}"} for n in range(500)]
    text = page.render(clean.cleaned(verdicts.document(*({**broken, **each} for each in names), exit_code=2)))
    first, last = text.index('id="p0"'), text.index('id="p499"')
    assert len(text.encode()) < 3e6
    assert 'class="chain-picture"' in text[first : first + 2000]
    assert 'class="chain-picture"' not in text[last:]
    assert text.count('class="chain-picture"') == page.PICTURED
