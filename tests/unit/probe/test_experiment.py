# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The experiment against fake engines whose hits follow from what was sent."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from experiments import internal_api, run
from fake_engine import CHUNK, FakeCluster, digest
from kvproof.probe import experiment
from kvproof.probe.store_watch import LogFollower


@pytest.fixture
def cluster():
    made = FakeCluster()
    yield made
    made.close()


def test_a_healthy_pair(cluster):
    probe = run(cluster)
    assert probe["errors"] == []
    assert [(t["index"], t["attempt"]) for t in probe["trials"]] == [(0, 0), (1, 0), (2, 0)]
    assert [t["order"] for t in probe["trials"]] == ["reuse-first", "knockout-first", "reuse-first"]
    for trial in probe["trials"]:
        assert trial["visible"]["how"] == "key_count"
        assert trial["visible"]["reached"]
        assert trial["seed"]["cached_tokens"] == 0
        assert trial["reuse"]["cached_tokens"] == trial["expected_hit"] >= 4 * CHUNK
        assert trial["knockout"]["cached_tokens"] == 0
        assert trial["knockout_how"] == "tag"
        assert trial["reuse"]["logprobs"] == trial["knockout"]["logprobs"]
        assert trial["expected_text"]
    assert [bool(t["repeat"]) for t in probe["trials"]] == [True, False, False]
    assert probe["never_seen"]["cached_tokens"] == 0
    assert probe["recompute"]["logprobs"] == probe["trials"][-1]["knockout"]["logprobs"]
    assert probe["reference"] is None
    assert probe["prompt"]["source"] == "tokenize"
    assert probe["prompt"]["chunk_size_source"] == "variable"
    engine = probe["engines"]["receiver"]
    assert (engine["models"], engine["model_root"], engine["version"]) == (["fake"], "/opt/fake", "0.32.0")
    assert engine["tokenize"] is True


def test_a_recorded_probe_of_a_real_pair_has_the_shape_of_today(cluster):
    real = json.loads((Path(__file__).resolve().parents[2] / "fixtures" / "probe_healthy.json").read_text())
    fake = run(cluster)
    later = {
        "lengths",
        "withheld",
        "architecture",
        "flush",
        "window",
        "coordinator",
        "disagg_spec",
        "router",
    }  # it was recorded before there were any
    assert set(real) == {*fake, "cluster"} - later
    assert set(real["engines"]["holder"]) == set(fake["engines"]["holder"]) - {"recognised", "cache_server"}
    for ours, theirs in zip(fake["trials"], real["trials"]):
        assert set(ours) - {"window"} == set(theirs)
        assert set(ours["reuse"]) - {"kv_transfer"} == set(theirs["reuse"])
        assert theirs["reuse"]["cached_tokens"] == theirs["expected_hit"] == 1024
        assert theirs["knockout"]["cached_tokens"] == 0
        assert theirs["reuse"]["response_id"] == "cmpl-" + theirs["reuse"]["request_id"]
    assert real["never_seen"]["cached_tokens"] == real["recompute"]["cached_tokens"] == 0


def test_what_the_timed_requests_of_a_comparison_have_in_common(cluster):
    run(cluster)
    sent = {h["X-Request-Id"]: p for path, p, h in cluster.decode.requests if path == "/v1/completions"}
    for name, tokens in (("0", 32), ("1", 8), ("2", 8)):
        reuse, knock = sent[f"kvp-kabc12345-{name}-reuse"], dict(sent[f"kvp-kabc12345-{name}-knockout"])
        params, salt = knock.pop("kv_transfer_params"), knock.pop("cache_salt")
        assert reuse == knock
        assert reuse["max_tokens"] == tokens
        assert params == {"lmcache.tag.kvproof": salt, "lmcache.skip_save": "true"}
    never, last = sent["kvp-kabc12345-never"]["prompt"], sent["kvp-kabc12345-2-reuse"]["prompt"]
    assert len(never) == len(last)
    assert never[-6:] == last[-6:]
    assert digest(never[:CHUNK]) != digest(last[:CHUNK])
    salts = {p["cache_salt"] for p in sent.values() if "cache_salt" in p}
    assert len(salts) == 4


def test_the_window_of_the_metrics_holds_the_trials_and_controls_and_not_the_warm_up(cluster):
    probe = run(cluster)
    for side, requests in (("holder", 3), ("receiver", 9)):
        pages = probe["engines"][side]["metrics"]
        served = [pages[when]["values"]["vllm:request_success_total"] for when in ("before", "after")]
        assert served[1] - served[0] == requests


def test_with_any_source_all_seeds_are_made_and_counted_before_anything_is_reused(cluster):
    probe = run(cluster, settings={"source": "any", "wait_s": 0.3})
    ends = [trial["seed"]["sent_at"] + trial["seed"]["total_s"] for trial in probe["trials"]]
    pages = {side: probe["engines"][side]["metrics"] for side in ("holder", "receiver")}
    assert max(ends) + 0.25 < pages["holder"]["seeded"]["at"] < min(t["reuse"]["sent_at"] for t in probe["trials"])
    counted = {
        side: [read[when]["values"]["vllm:prompt_tokens_total"] for when in ("before", "seeded", "after")]
        for side, read in pages.items()
    }
    seeds = sum(trial["seed"]["prompt_tokens"] for trial in probe["trials"])
    assert counted["holder"][1] - counted["holder"][0] == seeds
    assert counted["holder"][2] == counted["holder"][1]
    assert counted["receiver"][1] == counted["receiver"][0] < counted["receiver"][2]
    assert [trial["visible"]["how"] for trial in probe["trials"]] == ["key_count"] * 3
    assert "seeded" not in run(cluster)["engines"]["holder"]["metrics"]


def test_metrics_that_are_another_engines_each_time_are_none(cluster):
    def page(handler, _payload):
        cluster.decode.prompt_tokens += 1
        cluster.decode.metrics(handler, None)

    cluster.decode.on["/metrics"] = page
    probe = run(cluster, settings={"source": "any", "wait_s": 0.0})
    assert probe["engines"]["receiver"]["metrics"]["seeded"]["state"] == "error"
    assert probe["engines"]["holder"]["metrics"]["seeded"]["state"] == "ok"


def test_plain_misses_are_not_tried_again(cluster):
    cluster.p2p = False
    probe = run(cluster)
    assert len(probe["trials"]) == 3
    assert all(t["reuse"]["cached_tokens"] == 0 and t["repeat"] is None for t in probe["trials"])
    assert probe["never_seen"] is not None


def losing(cluster, *pattern):
    """Makes reuses (the warm-up's, trials' and repeats', in order) lose to the time-out where pattern says 1."""
    original, turns = cluster.decode.lookup, iter(pattern)

    def lookup(payload, ids):
        hit = original(payload, ids)
        if hit and not payload.get("kv_transfer_params"):
            cluster.decode.lose = next(turns, pattern[-1])
        return hit

    cluster.decode.lookup = lookup


@pytest.fixture
def quick_timeout():
    """The receiver's internal API: its lookup time-out of 800 ms is longer than a busy machine takes for a miss."""
    server = internal_api(lookup_timeout_ms=800)
    yield {"internal_api_url": server.url}
    server.close()


def test_a_trial_lost_to_the_lookup_time_out_is_made_again_with_a_fresh_prompt(cluster, quick_timeout):
    losing(cluster, 0, 1, 0, 0)  # warm-up, trial 0, its repeat, the new trial 0
    probe = run(cluster, receiver=quick_timeout)
    assert [(t["index"], t["attempt"]) for t in probe["trials"]] == [(0, 0), (0, 1), (1, 0), (2, 0)]
    lost, again = probe["trials"][:2]
    assert lost["reuse"]["cached_tokens"] == 0
    assert lost["repeat"]["cached_tokens"] > 0  # the KV came late
    assert again["reuse"]["cached_tokens"] > 0
    assert again["seed"]["request_id"] == "kvp-kabc12345-0.1-seed"


@pytest.mark.slow
def test_lost_trials_are_not_made_again_for_ever(cluster, quick_timeout):
    losing(cluster, 1)
    probe = run(cluster, receiver=quick_timeout)
    assert len(probe["trials"]) == 5  # 3 of index 0, then half can no longer be reached
    assert [t["index"] for t in probe["trials"]] == [0, 0, 0, 1, 2]


@pytest.mark.slow
def test_with_a_dead_controller_lost_trials_are_not_made_again(cluster, quick_timeout):
    losing(cluster, 1)
    cluster.controller.on.clear()
    probe = run(cluster, receiver=quick_timeout)
    assert probe["controller"]["http"]["state"] == "error"
    assert probe["controller"]["workers"] is None
    assert [(t["index"], t["attempt"]) for t in probe["trials"]] == [(0, 0), (1, 0), (2, 0)]


def test_slow_without_cached_tokens_counts_as_lost_and_fast_does_not(cluster, quick_timeout):
    cluster.decode.cached_details = False
    assert len(run(cluster, receiver=quick_timeout)["trials"]) == 3
    losing(cluster, 0, 1, 0)
    assert len(run(cluster, receiver=quick_timeout, settings={"run_id": "kother123"})["trials"]) == 4


def test_where_the_knock_out_is_refused_a_prompt_logprobs_request_is_the_reference(cluster):
    cluster.decode.refuse = ("kv_transfer_params",)
    probe = run(cluster)
    assert all(t["knockout"] is None and t["knockout_how"] == "none" for t in probe["trials"])
    assert [t["reuse"]["cached_tokens"] > 0 for t in probe["trials"]] == [True] * 3
    assert probe["recompute"] is None
    assert probe["reference"]["error"] is None
    assert cluster.decode.requests[-2][1]["prompt_logprobs"] == 1
    assert [e["where"] for e in probe["errors"]] == ["receiver.knockout"]


def test_where_the_knock_out_is_ignored_too(cluster):
    cluster.decode.ignore_knockout = True
    probe = run(cluster)
    assert probe["trials"][0]["knockout"]["cached_tokens"] > 0
    assert probe["reference"] is not None


def test_a_long_prompt_gets_no_reference(cluster):
    cluster.decode.ignore_knockout = True
    probe = run(cluster, settings={"chunks": 140})
    assert probe["reference"] is None
    assert "receiver.reference" in [e["where"] for e in probe["errors"]]


def test_refused_logprobs_are_null(cluster):
    cluster.prefill.refuse = cluster.decode.refuse = ("logprobs",)
    probe = run(cluster)
    assert probe["errors"] == []
    assert all(t["reuse"]["logprobs"] is None and t["reuse"]["cached_tokens"] > 0 for t in probe["trials"])


def test_without_tokenize_text_is_sent_and_marked_as_an_estimate(cluster):
    for engine in (cluster.prefill, cluster.decode):
        del engine.on["/tokenize"]
    probe = run(cluster)
    assert (probe["prompt"]["source"], probe["prompt"]["estimated"]) == ("text", True)
    assert probe["engines"]["holder"]["tokenize"] is False
    assert all(t["reuse"]["cached_tokens"] >= t["expected_hit"] for t in probe["trials"])


def test_refused_token_ids_are_replaced_by_text(cluster):
    cluster.prefill.refuse = ("prompt",)
    probe = run(cluster)
    assert probe["prompt"]["estimated"] is True
    assert [w["request_id"].split("-", 2)[2] for w in probe["warmup"]] == [
        "warmup-holder",
        "warmup-text-holder",
        "warmup-text-receiver",
    ]
    assert all(t["reuse"]["cached_tokens"] >= t["expected_hit"] for t in probe["trials"])


def test_a_tokenizer_that_was_given_is_wanted(cluster, tmp_path):
    del cluster.prefill.on["/tokenize"]
    assert run(cluster, holder={"tokenizer": str(tmp_path)})["prompt"]["source"] == "tokenize"  # the receiver's
    del cluster.decode.on["/tokenize"]
    with pytest.raises((ImportError, experiment.TokenizerError)):
        run(cluster, holder={"tokenizer": str(tmp_path)})


@pytest.mark.parametrize(("length", "slug"), [(90, "prompt-too-long"), (50, "prompt-shorter-than-chunk")])
def test_what_does_not_fit_is_not_sent(cluster, length, slug):
    cluster.decode.max_model_len = length
    probe = run(cluster, settings={"max_tokens": 16, "chunks": 4})
    assert probe["prompt"]["refused"]["slug"] == slug
    assert probe["trials"] == probe["warmup"] == []
    assert "/v1/completions" not in cluster.prefill.paths() + cluster.decode.paths()


def test_fewer_chunks_than_usual_are_sent_where_the_operator_named_no_number(cluster):
    cluster.decode.max_model_len = 90
    probe = run(cluster, settings={"max_tokens": 16, "chunks": 0})
    assert probe["prompt"]["shortened"] == "3 of 4 chunks, so that a prompt fits max_model_len 90"
    assert probe["trials"]
    assert all(trial["reuse"]["cached_tokens"] >= trial["expected_hit"] >= 3 * CHUNK for trial in probe["trials"])


@pytest.mark.parametrize(
    "settings", [{"chunks": 2_000_000}, {"chunk_size": 10**9}, {"chunks": 1, "lengths": (2 * 10**9,)}]
)
def test_a_prompt_that_no_model_takes_is_not_even_built(cluster, settings):
    cluster.prefill.max_model_len = cluster.decode.max_model_len = None
    began = time.monotonic()
    probe = run(cluster, settings=settings)
    assert time.monotonic() - began < 10
    refused = probe["prompt"]["refused"] or {"text": probe["lengths"][0]["skipped"]}
    assert "any model takes" in refused["text"]


def test_the_internal_api_gives_sizes_and_only_listed_keys(cluster):
    internal = internal_api(min_retrieve_tokens=100, max_local_cpu_size=0.001)
    probe = run(cluster, settings={"chunk_size": 999, "chunks": 2}, holder={"internal_api_url": internal.url})
    internal.close()
    found = probe["engines"]["holder"]["internal"]
    assert found["conf"] == {"chunk_size": CHUNK, "min_retrieve_tokens": 100, "max_local_cpu_size": 0.001}
    assert found["versions"] == {"lmcache": "0.5.6", "vllm": None}
    assert found["backends"] is None
    assert found["error"] is None
    assert probe["prompt"]["chunk_size_source"] == "internal_api"
    assert probe["prompt"]["expected_hit"] > 100
    assert probe["prompt"]["refused"]["slug"] == "probe-exceeds-pool"


def test_an_internal_api_that_is_not_there(cluster):
    gone = internal_api()
    gone.close()
    probe = run(cluster, holder={"internal_api_url": gone.url})
    assert probe["engines"]["holder"]["internal"]["error"]["kind"] == "connect"
    assert len(probe["trials"]) == 3


def test_extra_attempts_stay_within_the_bound_on_probe_kv(cluster, quick_timeout):
    losing(cluster, 0, 1, 0, 0)
    probe = run(cluster, receiver=quick_timeout, settings={"max_probe_mb": 5, "trials": 1, "chunks": 20})
    assert probe["prompt"]["refused"] is None
    assert len(probe["trials"]) == 1
    assert probe["prompt"]["shortened"] is None


def test_pairs_that_share_an_engine_share_the_bound_on_probe_kv(cluster, quick_timeout):
    settings = {"max_probe_mb": 4, "trials": 1, "chunks": 20}
    shorter = run(cluster, receiver=quick_timeout, settings={**settings, "shares": 2})["prompt"]
    assert shorter["refused"] is None
    assert 0 < shorter["expected_hit"] < 20 * CHUNK
    assert "this pair's share of kv_reuse_max_probe_mb: 2 pairs" in shorter["shortened"]
    refused = run(cluster, receiver=quick_timeout, settings={**settings, "shares": 20})
    assert refused["prompt"]["refused"]["slug"] == "probe-too-big"
    assert refused["trials"] == refused["warmup"] == []


def test_an_engine_that_is_down(cluster):
    cluster.prefill.close()
    probe = run(cluster)
    holder = probe["engines"]["holder"]
    assert (holder["reachable"], holder["error"]["kind"]) == (False, "connect")
    assert holder["metrics"]["before"]["state"] == "error"
    assert probe["engines"]["receiver"]["metrics"]["after"]["state"] == "ok"
    assert probe["trials"] == []


@pytest.mark.parametrize("status", [401, 404, 500])
def test_an_engine_that_says_no_is_reachable_and_the_error_tells(cluster, status):
    cluster.decode.on = {path: lambda h, _p: h.reply(status, {"message": "no"}) for path in cluster.decode.on}
    probe = run(cluster)
    receiver = probe["engines"]["receiver"]
    assert (receiver["reachable"], receiver["error"]["status"], receiver["model"]) == (True, status, None)
    assert "receiver.models" in [e["where"] for e in probe["errors"]]
    assert probe["trials"] == []


def test_a_model_that_is_not_served(cluster):
    probe = run(cluster, receiver={"model": "other"})
    assert probe["engines"]["receiver"]["model"] is None
    assert probe["engines"]["receiver"]["models"] == ["fake"]
    assert "it serves: fake" in probe["errors"][0]["text"]


@pytest.mark.parametrize("junk", [[], {"data": None}, {"data": [1, {"id": 2}]}, "x"])
def test_junk_instead_of_models(cluster, junk):
    cluster.decode.on["/v1/models"] = lambda h, _p: h.reply(200, json.dumps(junk))
    assert run(cluster)["engines"]["receiver"]["model"] is None


def test_metrics_that_are_html(cluster):
    cluster.decode.on["/metrics"] = lambda h, _p: h.reply(200, "<html></html>", "text/html")
    probe = run(cluster)
    assert probe["engines"]["receiver"]["metrics"]["before"]["state"] == "not-prometheus"
    assert len(probe["trials"]) == 3


def test_a_failing_warm_up_ends_it(cluster):
    cluster.prefill.on["/v1/completions"] = lambda h, _p: h.reply(500, {"message": "engine dead"})
    probe = run(cluster)
    assert len(probe["warmup"]) == 1
    assert [e["where"] for e in probe["errors"]] == ["holder.warmup", "experiment"]


def test_an_engine_that_dies_on_the_way(cluster):
    complete = cluster.decode.complete
    cluster.decode.on["/v1/completions"] = lambda h, p: (
        complete(h, p) if cluster.decode.served < 3 else h.reply(500, {"message": "engine dead"})
    )
    probe = run(cluster)
    assert [bool(t["reuse"]["error"]) for t in probe["trials"]] == [False, True, True]
    assert probe["never_seen"] is None


def test_a_failed_seed_has_no_reuse(cluster):
    complete = cluster.prefill.complete
    cluster.prefill.on["/v1/completions"] = lambda h, p: (
        complete(h, p)
        if cluster.prefill.served != 2
        else (setattr(cluster.prefill, "served", 3), h.reply(500, {"message": "once"}))
    )
    probe = run(cluster)
    assert [t["reuse"] is None for t in probe["trials"]] == [False, True, False]
    assert probe["trials"][1]["visible"] == {"how": None, "reached": False, "waited_s": 0.0, "limit_s": 0.0}


def test_an_engine_that_hangs_is_left_at_the_deadline(cluster):
    complete = cluster.decode.complete
    cluster.decode.on["/v1/completions"] = lambda h, p: complete(h, p) if cluster.decode.served < 3 else time.sleep(4)
    probe = run(cluster, settings={"deadline_s": 1.5})
    assert probe["errors"][-1]["kind"] == "deadline"
    assert probe["trials"]
    assert probe["never_seen"] is None


def test_without_a_witness_all_seeds_go_first_and_share_one_wait(cluster):
    probe = run(cluster, controller=False)
    assert probe["controller"] is None
    sent = sorted((t[role]["sent_at"], role) for t in probe["trials"] for role in ("seed", "reuse"))
    assert [role for _at, role in sent] == ["seed"] * 3 + ["reuse"] * 3
    for trial in probe["trials"]:
        assert (trial["visible"]["how"], trial["visible"]["reached"]) == (None, False)
        assert trial["visible"]["waited_s"] >= trial["visible"]["limit_s"] == 0.3


def test_the_holders_log_is_a_witness(cluster, tmp_path):
    log = tmp_path / "prefill.log"
    log.write_text("old line\n")
    cluster.prefill.log = log
    probe = run(cluster, controller=False, holder={"log_file": str(log)})
    assert all((t["visible"]["how"], t["visible"]["reached"]) == ("log", True) for t in probe["trials"])


@pytest.mark.parametrize("kind", ["directory", "missing", "empty"])
def test_a_log_that_is_none_is_no_witness_and_no_trouble(cluster, tmp_path, kind):
    path = tmp_path / "log"
    if kind == "directory":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    probe = run(cluster, controller=False, holder={"log_file": str(path)})
    assert all(t["visible"]["reached"] is False for t in probe["trials"])
    assert all(t["reuse"]["cached_tokens"] > 0 for t in probe["trials"])


def test_a_log_is_followed_in_steps_and_over_rotation(tmp_path):
    path = tmp_path / "log"
    line = "[2026-11-24 02:24:29,175] LMCache INFO: [req_id={}] Stored 512 out of total 600 tokens (a.py:1:b)\n"
    path.write_text(line.format("cmpl-kvp-r-0-seed-0-11111111"))
    follower = LogFollower(str(path), path.stat().st_size, "cmpl-kvp-r-0-seed")
    assert follower.stored() == 0
    whole = line.format("cmpl-kvp-r-0-seed-0-1a2b3c4d")
    with path.open("a") as log:
        log.write(line.format("cmpl-kvp-r-10-seed-0-1a2b3c4d") + whole[:30])
    assert follower.stored() == 0
    with path.open("a") as log:
        log.write(whole[30:])
    assert follower.stored() == 512
    path.write_text(whole)
    assert follower.stored() == 1024


@pytest.mark.slow
def test_a_store_that_never_shows_is_waited_for_once(cluster):
    cluster.p2p = False
    cluster.workers = lambda: [{"instance_id": "x", "worker_id": 0, "ip": "127.0.0.1", "key_count": 0}]
    probe = run(cluster, settings={"wait_s": 1.2})
    assert [t["visible"]["limit_s"] for t in probe["trials"]] == [1.2, 1.0, 1.0]
    assert all(t["visible"]["how"] == "key_count" and not t["visible"]["reached"] for t in probe["trials"])


@pytest.mark.parametrize("answer", [{}, {"workers": 3}, [1], {"workers": []}, {"workers": [{"instance_id": "a"}]}])
def test_odd_controllers(cluster, answer):
    cluster.controller.on["/controller/workers"] = lambda h, _p: h.reply(200, json.dumps(answer))
    probe = run(cluster)
    assert probe["controller"]["http"]["state"] in ("ok", "not-json")
    assert all(t["reuse"]["cached_tokens"] > 0 for t in probe["trials"])


def test_corrupt_kv_shows_in_the_log_probabilities(cluster):
    cluster.decode.corrupt = True
    for trial in run(cluster)["trials"]:
        assert trial["reuse"]["text"] == trial["knockout"]["text"]
        assert trial["reuse"]["logprobs"] != trial["knockout"]["logprobs"]


def test_the_key_is_nowhere_in_the_evidence(cluster):
    cluster.decode.on["/v1/completions"] = lambda h, _p: h.reply(500, h.headers["Authorization"])
    probe = run(cluster, receiver={"api_key": "sk-very-secret", "headers": {"X-Tenant": "tenant-secret"}})
    assert cluster.decode.requests[0][2]["Authorization"] == "Bearer sk-very-secret"
    assert "secret" not in json.dumps(probe)
    assert "Authorization" not in cluster.controller.requests[0][2]


def test_the_flush_is_waited_for_when_asked(cluster, monkeypatch):
    monkeypatch.setattr(experiment, "FLUSH_S", 0.2)
    probe = run(cluster, settings={"wait_for_flush": True, "trials": 1})
    assert 0 <= probe["settings"]["flush_waited_s"] <= 0.2
    assert run(cluster)["settings"]["flush_waited_s"] is None
