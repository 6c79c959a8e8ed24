"""From what tasks said to the run's document."""

from __future__ import annotations

import verdicts
from kvproof.report.run import Run


def test_all_pairs_proven_is_a_pass():
    doc = verdicts.document(verdicts.verdict("healthy"), exit_code=0)
    assert (doc["verdict"], doc["run_fails"], doc["problems"]) == ("pass", False, [])
    assert doc["clusters"][0]["counts"] == {"pass": 1}


def test_the_worst_pair_decides():
    doc = verdicts.document(*(verdicts.verdict(n, cluster="demo") for n in ("healthy", "local_hit_decode")))
    assert doc["verdict"] == "inconclusive"
    doc = verdicts.document(*(verdicts.verdict(n) for n in ("healthy", "local_hit_decode", "sync_loading")))
    assert doc["verdict"] == "fail"
    assert [c["verdict"] for c in doc["clusters"]] == ["pass", "inconclusive", "fail"]


def test_incomplete_says_nothing_else():
    doc = verdicts.run(verdicts.verdict("healthy"), missing=1).document("incomplete")
    assert (doc["status"], doc["verdict"], doc["run_fails"], doc["problems"]) == ("incomplete", None, True, [])


def test_inconclusive_may_be_accepted():
    pair = verdicts.verdict("local_hit_decode")
    assert verdicts.document(pair)["run_fails"] is True
    assert verdicts.document(pair, inconclusive="warn")["run_fails"] is False


def test_a_waived_pair_is_counted_and_does_not_fail_the_run():
    doc = verdicts.document(verdicts.waived(), exit_code=0)
    assert (doc["verdict"], doc["run_fails"], doc["clusters"][0]["counts"]) == ("pass", False, {"waived": 1})


def test_a_pair_without_verdict_is_told_with_its_hosts_failure():
    run = verdicts.run(verdicts.verdict("healthy", cluster="demo"), missing=2)
    run.failure("d0", "Read the node", "no such file\n or directory")
    run.failure("p1", "Read the node", "Connection refused", unreachable=True)
    doc = run.document("complete", verdicts.FINISHED, 2)
    assert [pair["reason"] for pair in doc["clusters"][0]["not_judged"]] == [
        'd0: task "Read the node" failed: no such file or directory',
        'p1: task "Read the node" could not reach the host: Connection refused',
    ]
    assert (doc["verdict"], doc["clusters"][0]["verdict"]) == ("inconclusive", "inconclusive")


def test_a_pair_without_verdict_or_failure_is_told_too():
    doc = verdicts.document(missing=1)
    assert doc["clusters"][0]["not_judged"][0]["reason"] == "its verdict task did not run"
    assert doc["run_fails"] is True


def test_a_missing_verdict_is_no_pass_even_where_inconclusive_is_accepted():
    assert verdicts.document(missing=1, inconclusive="warn")["run_fails"] is True


def test_the_gates_refusal_is_the_problem():
    run = Run(verdicts.STARTED)
    run.plan({"pairs": [], "skipped": [], "notes": ["a waiver ended"]}, failed=True, text="no decode node")
    run.failure("localhost", "Choose the pairs", "no decode node")
    doc = run.document("complete", verdicts.FINISHED, 2)
    assert doc["problems"] == ["no decode node"]
    assert doc["notes"] == ["a waiver ended"]
    assert (doc["verdict"], doc["run_fails"]) == ("inconclusive", True)


def test_a_failure_before_the_gate_is_the_problem():
    run = Run(verdicts.STARTED)
    run.failure("localhost", "Check the numbers", "MAX_TOKENS must be a whole number")
    doc = run.document("complete", verdicts.FINISHED, 2)
    assert doc["problems"] == ['localhost: task "Check the numbers" failed: MAX_TOKENS must be a whole number']


def test_nothing_at_all_is_a_problem_and_exit_0_is_told_to_be_no_pass():
    doc = Run(verdicts.STARTED).document("complete", verdicts.FINISHED, 0)
    assert doc["problems"] == [
        "no pair was judged: no task of the validation ran on any host",
        "no task failed, so Ansible exits with 0 although this run is no pass",
    ]


def test_a_failing_exit_code_beside_a_pass_is_explained():
    run = verdicts.run(verdicts.verdict("healthy"))
    run.failure("other", "Something else", "broke")
    doc = run.document("complete", verdicts.FINISHED, 2)
    assert doc["verdict"] == "pass"
    assert doc["notes"] == ['the exit code comes from elsewhere: other: task "Something else" failed: broke']


def test_two_plans_add_up_and_a_repeated_one_does_not_double():
    run = verdicts.run(verdicts.verdict("healthy"))
    again = {"pairs": [{"cluster": "healthy", "holder": "prefill", "receiver": "decode"}], "skipped": [], "notes": []}
    run.plan(again)
    run.plan({**again, "pairs": [{"cluster": "b", "holder": "p", "receiver": "d"}]})
    doc = run.document("complete", verdicts.FINISHED)
    assert [(c["name"], len(c["pairs"]), len(c["not_judged"])) for c in doc["clusters"]] == [
        ("b", 0, 1),
        ("healthy", 1, 0),
    ]
