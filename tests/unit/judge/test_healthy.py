"""Clusters that work and look broken: stalls of LMCache as shipped, slow machines, proxies, deadlines."""

from __future__ import annotations

import pytest
from documents import (
    CHUNK,
    HIT,
    TIMEOUT_S,
    controller,
    event,
    layout,
    logged_id,
    no_log,
    not_announced,
    pair,
    setting,
)
from judging import events, told, warnings
from kvproof.judge.verdict import judge

MISSED = ("missed",) * 3
LOST = ("timed-out",) * 3


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        (("proven", "proven", "timed-out"), "pass"),
        (("proven", "timed-out"), "pass"),
        (("proven", "timed-out", "timed-out"), "inconclusive"),
        (LOST, "inconclusive"),
        (("timed-out",), "inconclusive"),
        (("timed-out", "missed", "missed"), "inconclusive"),
        (("missed", "missed", "timed-out", "missed"), "inconclusive"),
        (("proven", "missed"), "inconclusive"),
        (("missed",), "inconclusive"),
        (("proven", "error", "proven"), "inconclusive"),
        (("missed", "missed"), "fail"),
    ],
)
def test_lmcache_as_shipped_never_fails_by_its_stalls(outcomes, verdict):
    assert told(pair(*outcomes))[0] == verdict


def test_plain_misses_beside_a_stalled_control_prove_nothing():
    document = pair(*MISSED)
    events(document, "receiver").append(event("lookup_timed_out", "1-knockout", seconds=3))
    assert told(document) == ("inconclusive", ["lookup-timed-out"])


def test_a_lost_answer_is_no_plain_miss():
    """The controller knew the chunks a moment later: the answer went to another lookup."""
    document = pair("proven", "missed", "proven")
    log = events(document, "receiver")
    at = next(n for n, e in enumerate(log) if e.get("id") == logged_id("1-knockout"))
    log[at - 1] = layout()
    assert told(document) == ("pass", [])
    assert warnings(document) == ["lookup-timed-out"]


def test_a_slow_machine_without_the_receivers_log():
    """Every request takes as long as the time-out: a lost lookup and a slow prefill look the same."""
    document = no_log(pair(*MISSED), "receiver")
    for trial in document["probe"]["trials"]:
        trial["reuse"]["ttft_s"] = trial["knockout"]["ttft_s"] = TIMEOUT_S + 0.4
    for name in ("never_seen", "recompute"):
        document["probe"][name]["ttft_s"] = TIMEOUT_S + 0.4
    assert judge(document)["counts"] == {"fresh_prompts": 3, "slow": 3}
    assert told(document) == ("inconclusive", ["lookup-timed-out"])
    verdict, decisive = told(setting(document, "receiver", "chunk_size", 128))
    assert (verdict, decisive[0]) == ("fail", "chunk-size-differs")


def test_slow_reuses_do_not_count_as_lost_where_half_are_proven():
    """PASS allows time-outs, not misses that may be time-outs."""
    document = no_log(pair("proven", "missed"), "receiver")
    document["probe"]["trials"][1]["reuse"]["ttft_s"] = TIMEOUT_S + 0.4
    for trial in document["probe"]["trials"]:
        trial["knockout"]["ttft_s"] = TIMEOUT_S + 0.4
    for name in ("never_seen", "recompute"):
        document["probe"][name]["ttft_s"] = TIMEOUT_S + 0.4
    assert told(document)[0] == "inconclusive"


def test_a_slow_machine_whose_log_tells_is_judged_by_the_log():
    document = pair(*MISSED)
    for trial in document["probe"]["trials"]:
        trial["reuse"]["ttft_s"] = trial["knockout"]["ttft_s"] = TIMEOUT_S + 0.4
    assert told(document) == ("fail", ["reuse-absent"])


def test_time_outs_told_by_warnings_alone():
    """INFO is hidden; the warning that names the request is there."""
    document = pair(*LOST)
    log = document["nodes"]["receiver"]["log"]
    log["events"] = [e for e in log["events"] if e["kind"] == "lookup_timed_out"]
    assert told(document) == ("inconclusive", ["lookup-timed-out"])


def test_a_holder_whose_log_hides_info_was_not_not_asked():
    """A warning with the seed's id is no proof that later INFO lines would be there."""
    document = pair()
    document["nodes"]["holder"]["log"]["events"] = [event("lookup_timed_out", f"{n}-seed", seconds=3) for n in range(3)]
    assert told(document) == ("pass", []), "by the receiver's log"


def test_health_is_not_everybodys_to_see():
    """A proxy that does not pass /health on, in front of an engine that works."""
    document = pair()
    engine = document["probe"]["engines"]["receiver"]
    engine.update(health={"status": 404}, error={"kind": "http", "status": 404, "text": "/health answers 404"})
    assert told(document) == ("pass", [])


def test_a_models_page_that_fails_is_not_another_model():
    document = pair()
    engine = document["probe"]["engines"]["receiver"]
    engine.update(models=[], model=None, error={"kind": "http", "status": 500, "text": "/v1/models answers 500"})
    document["probe"].update(trials=[], warmup=[], never_seen=None, recompute=None)
    assert told(document) == ("fail", ["engine-errors"])


def test_a_limit_of_the_probes_rate_is_no_broken_engine():
    document = pair()
    for trial in document["probe"]["trials"]:
        trial["reuse"].update(error={"kind": "http", "status": 429, "text": "too many requests"}, cached_tokens=None)
    assert told(document)[0] == "inconclusive"


def test_a_deadline_is_no_broken_engine_where_it_answered_before():
    document = pair("unsent")
    document["probe"]["trials"][0]["seed"]["error"] = {"kind": "deadline", "status": None, "text": "out of time"}
    assert told(document) == ("inconclusive", ["experiment-incomplete"])
    document["probe"]["warmup"] = []
    document["probe"]["trials"][0]["seed"]["total_s"] = 30.0
    assert told(document) == ("fail", ["engine-errors"]), "an engine that never answered anything"
    document["probe"]["trials"][0]["seed"]["total_s"] = 0.001
    assert told(document) == ("inconclusive", ["experiment-incomplete"]), "it had no time to answer"


def test_a_deadline_midway_leaves_less_than_was_asked_for():
    document = pair("proven")
    document["probe"]["settings"]["trials"] = 3
    assert told(document) == ("inconclusive", ["experiment-incomplete"])
    assert told(pair("proven")) == ("pass", []), "one trial asked for, one proven"


def test_a_cut_experiment_does_not_hide_a_cause():
    document = setting(pair("missed", "missed", "unsent"), "receiver", "enable_p2p", False)
    verdict, decisive = told(document)
    assert (verdict, decisive[0]) == ("fail", "p2p-disabled")


def test_announced_too_late_for_a_slow_machine():
    document = not_announced(pair(*MISSED))
    document["controllers"] = [controller(3 * HIT // CHUNK)]
    assert told(document) == ("inconclusive", ["announced-late"])
    assert warnings(document) == ["not-announced"]
    document["controllers"] = [controller(2)]
    assert told(document) == ("fail", ["not-announced"]), "the warm-up's chunks alone"


def test_a_full_pool_need_not_raise_its_key_count():
    document = not_announced(pair(*MISSED))
    values = document["probe"]["engines"]["holder"]["metrics"]["after"]["values"]
    values["lmcache:local_cpu_evict_keys_count_total"] = 12.0
    assert told(document) == ("fail", ["reuse-absent"])
    assert warnings(document) == ["not-announced"]
