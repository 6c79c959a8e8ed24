# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the measurements of a pair come to: intervals that are honest for few values, transfers by request id, lengths,
and limits that fail a run only where the interval excludes them."""

from __future__ import annotations

import random
from statistics import median

import pytest
from documents import HIT, event, length, pair, put
from hypothesis import given
from hypothesis import strategies as st
from kvproof.judge.interval import interval, spread
from kvproof.judge.lengths import break_even
from kvproof.judge.verdict import judge

BYTES = 4 * 2 * 2 * 32 * 2  # KV of one token as META has it
positive = st.floats(0.001, 1000, allow_nan=False)


# ---- intervals


@given(st.lists(positive, min_size=2, max_size=12))
def test_an_interval_holds_its_median_and_is_the_same_every_time(values):
    ends = interval(values)
    assert ends["low"] <= median(values) * 1.000001 + 1e-6
    assert ends["high"] >= median(values) * 0.999999 - 1e-6
    assert interval(list(values)) == ends


def test_one_value_and_nonsense_have_no_interval():
    assert [interval(values) for values in ([], [2.0], [2.0, -1.0], [0.0, 1.0])] == [None] * 4


def test_three_values_have_a_wide_interval_and_more_a_narrower_one():
    three, twelve = interval([2.0, 2.2, 2.4]), interval([2.0, 2.2, 2.4] * 4)
    assert three["low"] < 2.0
    assert three["high"] > 2.4
    assert twelve["high"] - twelve["low"] < (three["high"] - three["low"]) / 2


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    chance, held = random.Random(1), 0
    for _ in range(200):
        ends = interval([chance.lognormvariate(0.7, 0.2) for _ in range(3)])
        held += ends["low"] <= 2.0138 <= ends["high"]
    assert held >= 170  # of 200; without widening it is about 150


def test_a_spread_has_a_95th_percentile_only_where_there_are_values_for_it():
    assert spread([]) is None
    assert spread([3.0, 1.0]) == {"n": 2, "median": 2.0, "p95": None, "max": 3.0}
    assert spread([float(n) for n in range(1, 21)]) == {"n": 20, "median": 10.5, "p95": 19.0, "max": 20.0}


# ---- of a pair


def test_speedup_is_that_of_pairs_with_an_interval():
    document = pair()
    for trial, reused, cold in zip(document["probe"]["trials"], (0.05, 0.1, 0.2), (0.1, 0.3, 0.4)):
        trial["reuse"]["ttft_s"], trial["knockout"]["ttft_s"] = reused, cold
    seen = judge(document)["performance"]
    assert (seen["reused_s"], seen["recomputed_s"], seen["speedup"]) == (0.1, 0.3, 2.0)  # 2, 3 and 2
    assert seen["interval"]["low"] <= 2.0 <= seen["interval"]["high"]


def test_times_between_tokens_are_taken_together():
    document = pair()
    for trial in document["probe"]["trials"]:
        trial["reuse"]["itl_s"] = {"n": 10, "mean": 0.004, "p50": 0.004, "max": 0.02, "gaps": [0.004] * 9 + [0.02]}
    verdict = judge(document)
    assert verdict["timing"]["itl_s"] == {"n": 30, "median": 0.004, "p95": 0.02, "max": 0.02}
    assert verdict["timing"]["tpot_s"] == {"n": 3, "median": 0.004, "p95": None, "max": 0.004}
    assert verdict["timing"]["visible_s"]["median"] == 0.061
    assert "gaps" not in verdict["trials"][0]["itl_s"]


def moved(document: dict) -> dict:
    return judge(document)["timing"]["moved"]


def logged(document: dict, role: str, kind: str, number: int) -> dict:
    return [e for e in document["nodes"][role]["log"]["events"] if e["kind"] == kind][number]


def test_a_transfer_is_timed_by_the_lines_of_its_own_request():
    document = pair()
    for number, (start, end) in enumerate((("10,100", "10,104"), ("11,000", "11,008"), ("12,000", "12,006"))):
        logged(document, "holder", "peer_asked", number)["at"] = f"2026-11-24 02:24:{start}"
        logged(document, "holder", "transfer_finished", number)["at"] = f"2026-11-24 02:24:{end}"
    seen = moved(document)
    assert seen["transfer_s"] == {"n": 3, "median": 0.006, "p95": None, "max": 0.008}
    assert seen["transfer_gb_s"]["median"] == pytest.approx(HIT * BYTES / 2**30 / 0.006, rel=1e-4)


def test_another_request_between_the_lines_leaves_the_time_unknown():
    document = pair("proven")
    events = document["nodes"]["holder"]["log"]["events"]
    at = events.index(logged(document, "holder", "peer_asked", 0))
    events.insert(at + 1, event("peer_asked", None, id="cmpl-other-0-11111111"))
    assert moved(document)["transfer_s"] is None


def test_load_and_store_are_what_the_own_lines_say():
    document = pair("proven")
    logged(document, "receiver", "retrieved", 0).update(cost_ms=2.5, gb_s=0.8)
    logged(document, "holder", "stored", 0).update(cost_ms=4.0, gb_s=0.5)
    seen = moved(document)
    assert (seen["load_s"]["median"], seen["load_gb_s"]["median"]) == (0.0025, 0.8)
    assert seen["store_s"]["median"] == 0.004


HISTOGRAM = "lmcache:p2p_time_to_transfer"


def exported(document: dict, when: str, count: int, seconds: float, speed: float) -> dict:
    values = document["probe"]["engines"]["holder"]["metrics"][when]["values"]
    values.update({f"{HISTOGRAM}_count": count, f"{HISTOGRAM}_sum": seconds, "lmcache:p2p_transfer_speed_sum": speed})
    return document


def test_the_holders_histogram_is_read_where_it_has_been_flushed():
    document = exported(exported(pair(), "before", 2, 0.01, 1e5), "after", 6, 0.05, 9e5)
    told = moved(document)["histogram"]
    assert (told["state"], told["transfers"], told["mean_s"]) == ("ok", 4, 0.01)
    assert told["mean_gb_s"] == pytest.approx(2e5 * BYTES / 2**30, rel=1e-3)


def test_a_histogram_that_did_not_move_beside_a_proof_is_not_flushed_yet():
    assert moved(exported(exported(pair(), "before", 2, 0.01, 1e5), "after", 2, 0.01, 1e5))["histogram"] == {
        "state": "not flushed yet",
        "transfers": None,
        "mean_s": None,
        "mean_gb_s": None,
    }
    assert moved(pair())["histogram"]["state"] == "not flushed yet"
    assert moved(pair(*("missed",) * 3))["histogram"] is None
    assert (
        moved(put(pair(), "probe.engines.holder.metrics.after.lmcache", False))["histogram"]["state"] == "not exported"
    )


def test_an_architecture_whose_dialect_times_nothing_says_nothing():
    assert judge(pair(architecture="nixl_pd"))["timing"]["moved"] is None


# ---- lengths


def timing(*lengths: dict) -> dict:
    return judge(put(pair(), "probe.lengths", list(lengths)))["timing"]


def test_the_break_even_is_interpolated_between_the_lengths_on_both_sides():
    seen = timing(length(4096, (0.08, 0.2), (0.08, 0.2)), length(1024, (0.06, 0.05)), length(9999, skipped="too long"))
    assert [(one["asked"], one["pairs"], one["skipped"]) for one in seen["lengths"]] == [
        (1024, 1, None),
        (4096, 2, None),
        (9999, 0, "too long"),
    ]
    assert seen["lengths"][1]["speedup"] == 2.5
    tokens = 1054 + (4126 - 1054) * 0.01 / 0.13
    assert seen["break_even"]["tokens"] == pytest.approx(tokens, abs=1)
    assert "between 1054 and 4126" in seen["break_even"]["text"]


@pytest.mark.parametrize(
    ("times", "word"),
    [
        ([(0.05, 0.06), (0.06, 0.2)], "faster at all measured lengths"),
        ([(0.05, 0.04), (0.06, 0.06)], "faster at none"),
        ([(0.05, 0.06), (0.06, 0.05)], "no single break-even: reuse is faster at 130 tokens only"),
    ],
)
def test_where_there_is_no_break_even_the_report_says_what_was_seen(times, word):
    seen = timing(*(length(100 * n, one) for n, one in enumerate(times, start=1)))["break_even"]
    assert seen["tokens"] is None
    assert word in seen["text"]


def test_nothing_measured_has_no_break_even():
    assert break_even([]) is None
    assert timing(length(16384, skipped="16424 tokens exceed max_model_len 4096"))["break_even"] is None


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"hit": 768}, "not reused in whole"),
        ({"hit": 0}, "not reused in whole"),
    ],
)
def test_what_was_not_reused_in_whole_is_no_measurement(change, word):
    seen = timing(length(1024, (0.05, 0.2), **change))["lengths"][0]
    assert (seen["pairs"], seen["reused_s"]) == (0, None)
    assert word in seen["skipped"]


def test_a_recompute_that_waited_for_a_lookup_is_no_measurement_but_a_long_prefill_is():
    lost = length(1024, (0.05, 3.4))
    lost["trials"][0]["seed"]["ttft_s"] = 0.3
    assert timing(lost)["lengths"][0]["pairs"] == 0
    assert timing(length(16384, (0.4, 5.0)))["lengths"][0]["pairs"] == 1


def test_a_failed_length_tells_its_error_and_leaves_the_verdict_alone():
    failed = length(4096, (0.05, 0.2))
    failed["trials"][0]["reuse"].update(error={"kind": "http", "status": 500, "text": "it failed"}, cached_tokens=None)
    verdict = judge(put(pair(), "probe.lengths", [failed]))
    assert (verdict["verdict"], verdict["findings"]) == ("pass", [])
    assert verdict["timing"]["lengths"][0]["skipped"] == "it failed"


# ---- limits


def limited(*pairs: tuple[float, float], **limits: float) -> dict:
    document = pair(*("proven",) * len(pairs), limits=limits)
    for trial, (reused, cold) in zip(document["probe"]["trials"], pairs):
        trial["reuse"]["ttft_s"], trial["knockout"]["ttft_s"] = reused, cold
    return judge(document)


FOUR_TIMES = ((0.05, 0.2), (0.051, 0.2), (0.05, 0.203))


@pytest.mark.parametrize(
    ("limits", "verdict", "slugs", "state"),
    [
        ({}, "pass", [], "holds"),
        ({"min_speedup": 2.0}, "pass", [], "holds"),
        ({"min_speedup": 4.0}, "pass", ["limit-undecided"], "unknown"),
        ({"min_speedup": 6.0}, "fail", ["speedup-below-limit"], "broken"),
        ({"max_ttft_ms": 100.0}, "pass", [], "holds"),
        ({"max_ttft_ms": 50.2}, "pass", ["limit-undecided"], "unknown"),
        ({"max_ttft_ms": 20.0}, "fail", ["ttft-above-limit"], "broken"),
        ({"min_speedup": 6.0, "max_ttft_ms": 20.0}, "fail", ["speedup-below-limit", "ttft-above-limit"], "broken"),
    ],
)
def test_a_limit_fails_a_pair_only_where_the_interval_excludes_it(limits, verdict, slugs, state):
    seen = limited(*FOUR_TIMES, **limits)
    assert (seen["verdict"], [f["slug"] for f in seen["findings"]]) == (verdict, slugs)
    assert seen["links"][12]["state"] == state
    assert all(link["state"].startswith("holds") for link in seen["links"][:12])
    assert seen["first_broken"] == ({"link": 13, "name": "worth it"} if verdict == "fail" else None)


def test_without_a_limit_no_number_fails_a_run():
    seen = limited((0.9, 0.1), (0.8, 0.1), (0.9, 0.1))
    assert (seen["verdict"], [f["slug"] for f in seen["findings"]]) == ("pass", ["not-faster"])


def test_a_missed_limit_can_be_waived():
    document = pair(limits={"min_speedup": 50.0})
    verdict = judge(document, {"speedup-below-limit": "known"})
    assert (verdict["verdict"], verdict["waived"]) == ("fail", True)


def test_what_is_not_proven_to_be_a_p2p_reuse_is_held_to_no_limit():
    seen = judge(pair(*("local",) * 3, limits={"max_ttft_ms": 0.1, "min_speedup": 1000.0}))
    assert seen["verdict"] == "inconclusive"
    assert {f["slug"] for f in seen["findings"] if f["link"] == 13} == {"limit-undecided"}
