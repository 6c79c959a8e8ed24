"""Controls and counters: what makes a hit worth something, and what witnesses a miss where nothing else tells."""

from __future__ import annotations

import pytest
from documents import HIT, count, logged_id, no_log, pair, request, setting, untold
from judging import events, told
from kvproof.judge.verdict import judge

MISSED = ("missed",) * 3


# ---- the controls


def test_a_server_that_always_tells_of_hits():
    document = no_log(pair(), "receiver")
    for one in (document["probe"]["never_seen"], *(t["knockout"] for t in document["probe"]["trials"])):
        one["cached_tokens"] = HIT
    assert told(document)[0] == "inconclusive"
    assert told(document)[1][0] == "control-hit"


def test_a_knock_out_that_hit_is_no_recompute():
    """Where a proxy strips the field, reuse and "recompute" are equal because both were reused."""
    document = pair()
    for index in range(3):
        for one in events(document, "receiver"):
            if one["kind"] == "looked_up" and one["id"] == logged_id(f"{index}-knockout"):
                one["hit"] = HIT
    assert told(document)[0] == "inconclusive"
    assert judge(document)["output"]["state"] == "unread"


def test_knock_out_refused_and_a_reference_instead():
    """The reference is a recompute of the last prompt alone, so only that one is compared with it."""
    document = pair()
    for trial in document["probe"]["trials"][:2]:
        trial["reuse"].update(text="an answer of its own", logprobs=None)
    for trial in document["probe"]["trials"]:
        trial.update(knockout=None, knockout_how="none")
    document["probe"]["recompute"] = None
    document["probe"]["reference"] = request("reference", "receiver", "reference")
    assert told(count(document)) == ("pass", [])
    document["probe"]["reference"] = None
    assert told(document) == ("inconclusive", ["output-unclear"])


def test_controls_that_nobody_can_read():
    """cached_tokens is not told, and the receiver's log shows the reuses only."""
    document = untold(pair())
    log = document["nodes"]["receiver"]["log"]
    log["events"] = [e for e in log["events"] if "reuse" in (e.get("id") or "-reuse")]
    document["probe"]["engines"]["receiver"]["metrics"] = {"before": None, "after": None}
    verdict, decisive = told(document)
    assert verdict == "inconclusive"
    assert "controls-unread" in decisive


def test_cached_tokens_that_are_always_0_are_no_witness_of_a_miss():
    """External hits of an idle engine contradict responses that tell of none."""
    document = no_log(pair(), "receiver")
    hits = document["probe"]["engines"]["receiver"]["metrics"]["after"]["values"]
    for trial in document["probe"]["trials"]:
        trial["reuse"]["cached_tokens"] = 0
    assert hits["vllm:external_prefix_cache_hits_total"] == 3 * HIT
    assert told(document) == ("inconclusive", ["outcome-unread"])


# ---- a miss by counters


def test_idle_counters_witness_plain_misses():
    document = untold(no_log(pair(*MISSED), "receiver"))
    assert judge(document)["counts"] == {"fresh_prompts": 3, "missed": 3}
    assert told(document) == ("fail", ["reuse-absent"])
    assert told(setting(document, "receiver", "enable_p2p", False)) == ("fail", ["p2p-disabled"])


@pytest.mark.parametrize(
    "change",
    [
        {"vllm:request_success_total": 99.0},
        {"vllm:num_requests_running": 1.0},
        {"vllm:external_prefix_cache_queries_total": 2154.0},
        {"vllm:external_prefix_cache_hits_total": float(HIT)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_counters_of_a_busy_or_silent_engine_witness_nothing(change):
    document = untold(no_log(pair(*MISSED), "receiver"))
    document["probe"]["engines"]["receiver"]["metrics"]["after"]["values"].update(change)
    assert told(document) == ("inconclusive", ["outcome-unread"])


def test_without_metrics_nothing_is_known_of_a_miss():
    document = untold(no_log(pair(*MISSED), "receiver"))
    document["probe"]["engines"]["receiver"]["metrics"]["after"] = {"state": "error", "error": None, "values": {}}
    assert told(document) == ("inconclusive", ["outcome-unread"])


def test_the_warm_up_is_not_counted_among_the_requests_of_the_window():
    """The first page is read after it; counting it would hide one foreign request for each."""
    document = untold(no_log(pair(*MISSED), "receiver"))
    document["probe"]["engines"]["receiver"]["metrics"]["after"]["values"]["vllm:request_success_total"] += 1
    assert told(document)[0] == "inconclusive"
    assert "not-idle" in [f["slug"] for f in judge(document)["findings"]]
