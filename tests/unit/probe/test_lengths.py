# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Other prompt lengths against fake engines: measured after the experiment, or skipped with a reason."""

from __future__ import annotations

import pytest
from experiments import internal_api, run
from fake_engine import CHUNK, FakeCluster
from kvproof.probe import experiment


@pytest.fixture
def cluster():
    made = FakeCluster()
    yield made
    made.close()


@pytest.fixture
def sized():
    """Engines that tell the size of their KV: 16 tokens are 64 KiB."""
    server = internal_api(max_local_cpu_size=0.01)
    yield {"internal_api_url": server.url}
    server.close()


def skipped(probe: dict) -> list[str | None]:
    return [one["skipped"] for one in probe["lengths"]]


def test_each_length_is_reused_and_recomputed_in_turns_after_the_last_metrics(cluster):
    probe = run(cluster, settings={"lengths": (20 * CHUNK, 40 * CHUNK + 3)})
    assert [one["asked"] for one in probe["lengths"]] == [20 * CHUNK, 40 * CHUNK + 3]
    for one, chunks in zip(probe["lengths"], (20, 40)):
        assert one["skipped"] is None
        assert one["tokens"] > chunks * CHUNK
        for trial in one["trials"]:
            assert trial["reuse"]["cached_tokens"] == trial["expected_hit"] >= chunks * CHUNK
            assert trial["knockout"]["cached_tokens"] == 0
            assert trial["visible"]["reached"]
        reuse_first = [trial["reuse"]["sent_at"] < trial["knockout"]["sent_at"] for trial in one["trials"]]
        assert reuse_first == [True, False, True]
    after = probe["engines"]["receiver"]["metrics"]["after"]["at"]
    assert all(t["seed"]["sent_at"] > after for one in probe["lengths"] for t in one["trials"])
    assert probe["errors"] == []


def test_none_asked_for_none_measured(cluster):
    assert run(cluster)["lengths"] == []


def test_what_is_shorter_than_a_chunk_or_longer_than_the_model_takes_is_skipped(cluster):
    cluster.decode.max_model_len = 400
    probe = run(cluster, settings={"lengths": (CHUNK - 1, 10 * CHUNK, 8000), "trials": 1})
    assert skipped(probe)[:2] == [f"shorter than a chunk of {CHUNK} tokens", None]
    assert "exceed max_model_len 400" in skipped(probe)[2]
    assert probe["errors"] == []


def test_what_no_pool_or_bound_has_room_for_is_skipped(cluster, sized):
    lengths = {"lengths": (10 * CHUNK, 100 * CHUNK), "trials": 1, "chunks": 4}
    assert "more than half of a node's pool of 11 MB" in skipped(run(cluster, lengths, receiver=sized))[1]
    probe = run(cluster, {**lengths, "max_probe_mb": 3, "run_id": "kother123"}, receiver=sized)
    assert skipped(probe)[0] is None
    assert len(probe["lengths"][0]["trials"]) == 1
    bound = run(
        cluster, {**lengths, "lengths": (70 * CHUNK,), "max_probe_mb": 3, "run_id": "kmore1234"}, receiver=sized
    )
    assert "are left of kv_reuse_max_probe_mb 3 MB" in skipped(bound)[0]
    assert bound["lengths"][0]["trials"] == []


def test_fewer_prompts_are_sent_where_the_bound_leaves_room_for_some(cluster, sized):
    probe = run(cluster, {"lengths": (30 * CHUNK,), "trials": 3, "max_probe_mb": 8}, receiver=sized)
    assert len(probe["lengths"][0]["trials"]) == 3
    less = {"lengths": (30 * CHUNK,), "trials": 3, "max_probe_mb": 5, "run_id": "kother123"}
    assert 0 < len(run(cluster, less, receiver=sized)["lengths"][0]["trials"]) < 3


def test_where_nothing_is_reused_there_is_nothing_to_measure(cluster):
    cluster.p2p = False
    probe = run(cluster, settings={"lengths": (20 * CHUNK,)})
    assert skipped(probe) == ["no reuse was seen, so there was nothing to measure"]
    sent = [headers.get("X-Request-Id", "") for _path, _payload, headers in cluster.prefill.requests]
    assert not any("-len" in name for name in sent)


def test_an_engine_that_is_down_measures_nothing(cluster):
    cluster.prefill.close()
    assert skipped(run(cluster, settings={"lengths": (20 * CHUNK,)})) == [
        "no reuse was seen, so there was nothing to measure"
    ]


def test_an_error_on_the_way_ends_that_length_alone(cluster):
    complete = cluster.decode.complete

    def answer(handler, payload):
        if len(payload["prompt"]) > 30 * CHUNK:
            handler.reply(500, {"message": "out of memory"})
        else:
            complete(handler, payload)

    cluster.decode.on["/v1/completions"] = answer
    probe = run(cluster, settings={"lengths": (20 * CHUNK, 40 * CHUNK)})
    assert [len(one["trials"]) for one in probe["lengths"]] == [3, 1]
    assert probe["lengths"][1]["trials"][0]["reuse"]["error"]["status"] == 500
    assert probe["errors"] == []


def test_what_the_deadline_does_not_leave_time_for_is_skipped(cluster, monkeypatch):
    finish = experiment.Experiment._finish

    def slowly(pair):
        finish(pair)
        pair.deadline._end = 0.0

    monkeypatch.setattr(experiment.Experiment, "_finish", slowly)
    probe = run(cluster, settings={"lengths": (20 * CHUNK,)})
    assert skipped(probe) == ["no time was left (kv_reuse_deadline)"]
    assert probe["errors"] == []
