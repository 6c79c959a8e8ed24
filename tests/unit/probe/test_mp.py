# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The experiment for the multiprocess mode, against fake engines with cache servers beside them."""

from __future__ import annotations

import json

import pytest
from fake_engine import CHUNK
from fake_mp import KEY_BYTES, FakeMpCluster
from kvproof.probe.engine import EngineSettings
from kvproof.probe.mp import Multiprocess
from kvproof.probe.options import Settings, server_url
from kvproof.stack import mp

COMPLETIONS = "/v1/completions"


@pytest.fixture
def cluster():
    its = FakeMpCluster()
    yield its
    its.close()


def run(cluster, known_as=("11",), **settings) -> dict:
    sides = [
        EngineSettings(role, name, engine.url, mp_url=engine.server.url, mp_instances=list(known))
        for role, name, engine, known in (
            ("holder", "p1", cluster.prefill, known_as),
            ("receiver", "d1", cluster.decode, ()),
        )
    ]
    wanted = {"chunks": 4, "wait_s": 0.5, "deadline_s": 30.0, "coordinator_url": cluster.controller.url, **settings}
    probe = Multiprocess(Settings("kabc12345", **wanted), *sides).run()
    json.dumps(probe, allow_nan=False)
    return probe


def test_a_healthy_pair(cluster):
    probe = run(cluster)
    assert (probe["errors"], probe["withheld"], probe["controller"]) == ([], None, None)
    assert [trial["order"] for trial in probe["trials"]] == ["reuse-first", "knockout-first", "reuse-first"]
    for trial in probe["trials"]:
        assert trial["visible"]["how"] == "counter"
        assert trial["visible"]["reached"]
        assert trial["reuse"]["cached_tokens"] == trial["expected_hit"] >= 4 * CHUNK
        assert (trial["knockout"]["cached_tokens"], trial["knockout_how"]) == (0, "salt")
        window = trial["window"]["receiver_server"]
        assert (window[mp.LOOKUPS], window[mp.HIT_L2], window[mp.HIT_L1]) == (1, trial["expected_hit"], 0)
        stored = trial["window"]["holder_server"]
        assert (stored[mp.LOOKUPS], stored[mp.WRITTEN]) == (1, trial["seed"]["prompt_tokens"] // CHUNK)
        assert trial["directory"]["holders"] == {"prefill_mp": trial["directory"]["chunks"]}
    assert probe["never_seen"]["cached_tokens"] == probe["recompute"]["cached_tokens"] == 0
    assert (probe["prompt"]["chunk_size"], probe["prompt"]["chunk_size_source"]) == (CHUNK, "cache_server")
    server = probe["engines"]["receiver"]["cache_server"]
    assert (server["healthy"], server["facts"]["engines"], server["facts"]["instance_id"]) == (
        True,
        ["22"],
        "decode_mp",
    )
    assert server["after"]["hash_algorithm"] == "blake3"
    assert probe["coordinator"]["instances"][0]["instance_id"] == "prefill_mp"


def test_the_servers_health_is_asked_before_every_prompt(cluster):
    run(cluster)
    for engine in (cluster.prefill, cluster.decode):
        sent = engine.paths().count(COMPLETIONS)
        assert sent > 3
        assert engine.server.paths().count("/healthcheck") > sent  # and once at first contact


def unhealthy(cluster):
    cluster.decode.server.healthy = False


def not_there(cluster):
    cluster.decode.server.close()


def forgotten(cluster):
    cluster.decode.server.engines = []


def anothers(cluster):
    cluster.prefill.server.engines = ["33"]


def no_server(cluster):
    cluster.decode.server.on["/status"] = lambda h, _p: h.reply(200, {})


@pytest.mark.parametrize(
    ("breaks", "why"),
    [
        (unhealthy, "d1's cache server is not healthy"),
        (not_there, "d1's cache server is not healthy"),
        (forgotten, "d1 is not registered with its cache server"),
        (anothers, "p1 is not registered with its cache server"),
        (no_server, "no cache server of LMCache"),
    ],
)
def test_no_prompt_is_sent_where_it_could_hang_an_engine(cluster, breaks, why):
    breaks(cluster)
    probe = run(cluster)
    assert why in probe["withheld"]
    assert COMPLETIONS not in cluster.prefill.paths() + cluster.decode.paths()


def test_no_prompt_is_sent_where_nobody_knows_the_server(cluster):
    sides = [EngineSettings(role, role, cluster.prefill.url) for role in ("holder", "receiver")]
    probe = Multiprocess(Settings("kabc12345"), *sides).run()
    assert "set kv_reuse_mp_url" in probe["withheld"]
    assert COMPLETIONS not in cluster.prefill.paths()


@pytest.mark.parametrize("breaks", [unhealthy, forgotten])
def test_a_server_that_goes_in_the_middle_is_seen_before_the_next_prompt(cluster, breaks):
    answer, served = cluster.decode.on[COMPLETIONS], []

    def complete(handler, payload):
        served.append(payload)
        answer(handler, payload)
        if len(served) == 3:  # warm-up, reuse, knock-out
            breaks(cluster)

    cluster.decode.on[COMPLETIONS] = complete
    probe = run(cluster)
    assert len(served) == 3
    assert "cache server failed during the probe" in probe["engines"]["receiver"]["cache_server"]["down"]
    assert probe["trials"][-1]["knockout"]["error"]["kind"] == "connect"


def test_an_engine_before_it_may_be_forgotten_meanwhile(cluster):
    """A server keeps what a restarted engine had registered before, and forgets it at any time."""
    server = cluster.prefill.server
    server.engines = ["9", "11"]
    complete = cluster.prefill.on[COMPLETIONS]

    def forgets(handler, payload):
        server.engines = ["11"]
        complete(handler, payload)

    cluster.prefill.on[COMPLETIONS] = forgets
    probe = run(cluster)
    assert (probe["errors"], len(probe["trials"])) == ([], 3)
    assert probe["engines"]["holder"]["cache_server"].get("down") is None


def test_what_it_leaves_behind_is_bounded(cluster):
    tokens_of_a_prompt, prompts = 90, 6
    probe = run(cluster, max_probe_mb=prompts * tokens_of_a_prompt * KEY_BYTES / CHUNK / 2**20)
    assert probe["prompt"]["shortened"]
    for engine in (cluster.prefill, cluster.decode):
        written = engine.server.counts["l1_write_chunks_total"] * CHUNK
        assert written <= prompts * tokens_of_a_prompt


def test_a_pool_without_room_for_two_prompts_gets_none(cluster):
    cluster.decode.server.pool_bytes = 2 * KEY_BYTES
    probe = run(cluster)
    assert probe["prompt"]["refused"]["slug"] == "probe-exceeds-pool"
    assert "--l1-size-gb" in probe["prompt"]["refused"]["text"]
    assert probe["trials"] == []


def test_without_cached_tokens_the_answers_come_in_one_piece(cluster):
    for engine in (cluster.prefill, cluster.decode):
        engine.cached_details = False
    run(cluster)
    reuse = [p for path, p, h in cluster.decode.requests if path == COMPLETIONS and h["X-Request-Id"].endswith("reuse")]
    assert [bool(payload.get("stream")) for payload in reuse] == [False] * 3
    assert reuse[0]["kv_transfer_params"] == {"cached_token_stats": True}


@pytest.mark.parametrize(
    ("options", "engine", "is_here", "url"),
    [
        ({}, "http://10.0.0.1:8000", False, None),
        ({}, "http://10.0.0.1:8000", True, "http://127.0.0.1:8080"),
        ({}, "http://127.0.0.1:8000", False, "http://127.0.0.1:8080"),
        ({"http-host": "0.0.0.0", "http-port": "9"}, "http://10.0.0.1:8000", False, "http://10.0.0.1:9"),
        ({"http-host": "10.0.0.2"}, "http://10.0.0.1:8000", False, "http://10.0.0.2:8080"),
        (None, "http://10.0.0.1:8000", True, None),
    ],
)
def test_where_the_probe_reaches_a_server(options, engine, is_here, url):
    assert server_url(options, engine, is_here) == url
