# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""A rehearsal cluster in MP mode: KV goes from server to server as it really does, and the surfaces tell of it."""

from __future__ import annotations

import random
import re
import time

import pytest

pytest.importorskip("aiohttp", reason="the rehearsal's requirements are not installed (lab/rehearsal)")
pytest.importorskip("cbor2", reason="the rehearsal's requirements are not installed (lab/rehearsal)")

import requests
from prometheus_client.parser import text_string_to_metric_families

from lab.cluster.cluster import Cluster
from lab.cluster.slots import Slots

STATS = {"kv_transfer_params": {"cached_token_stats": True}}


@pytest.fixture(scope="module")
def slots():
    return Slots()


@pytest.fixture(scope="module")
def healthy(slots, tmp_path_factory):
    with slots.take() as slot, Cluster(slot.lab(tmp_path_factory.mktemp("mp"), "mp")) as cluster:
        yield cluster


def prompt(tokens: int = 738) -> list[int]:
    return [random.randrange(300, 2000) for _ in range(tokens)]


def ask(cluster, role: str, tokens: list[int], name: str = "r", limit_s: float = 30, **more) -> dict:
    body = {"model": "tiny", "prompt": tokens, "max_tokens": 4, "temperature": 0, **STATS, **more}
    url = f"http://{cluster.addresses[role]}:8000/v1/completions"
    reply = requests.post(url, json=body, headers={"X-Request-Id": name}, timeout=limit_s)
    reply.raise_for_status()
    return reply.json()


def hit(answer: dict) -> int:
    return answer["kv_transfer_params"]["cached_token_stats"]["num_lmcache_extra_cached_tokens"]


def status(cluster, role: str, path: str = "status") -> dict:
    return requests.get(f"http://{cluster.addresses[role]}:8080/{path}", timeout=5).json()


def series(cluster, role: str) -> dict[str, float]:
    """Of a server, summed over labels."""
    text, found = requests.get(f"http://{cluster.addresses[role]}:8080/metrics", timeout=5).text, {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


def server_log(cluster, role: str) -> str:
    return cluster.log(f"{role}-server").read_text()


def test_a_peers_kv_is_read_again_each_time_and_stays_with_its_holder(healthy):
    tokens = prompt()
    first = ask(healthy, "prefill", tokens, "seed")
    time.sleep(1.2)
    objects = status(healthy, "decode")["storage_manager"]["l1_manager"]["total_object_count"]
    answers = [ask(healthy, "decode", tokens, name) for name in ("reuse", "again")]
    assert [hit(answer) for answer in answers] == [512, 512]
    assert [answer["choices"][0]["text"] for answer in answers] == [first["choices"][0]["text"]] * 2
    for name in ("reuse", "again"):
        assert re.search(
            rf"2/2 retained keys \(0 L1, 2 L2\).*external_request_id=cmpl-{name}-0-", server_log(healthy, "decode")
        )
    assert "(2 L1, 0 L2)" in server_log(healthy, "prefill")
    assert status(healthy, "decode")["storage_manager"]["l1_manager"]["total_object_count"] == objects
    directory = requests.post(
        f"http://{healthy.addresses['controller']}:9300/directory/lookup",
        json={"model_name": str(healthy.lab.model), "world_size": 1, "token_ids": tokens, "cache_salt": ""},
        timeout=5,
    ).json()
    assert directory["chunks"] == 2
    assert [[at["instance_id"] for at in one["placements"]] for one in directory["results"]] == [["prefill-1"]] * 2


def test_what_an_engine_stored_itself_is_a_hit_of_its_own_server(healthy):
    tokens = prompt()
    assert hit(ask(healthy, "decode", tokens, "own")) == 0
    assert hit(ask(healthy, "decode", tokens, "own2")) == 512
    assert re.search(r"\(2 L1, 0 L2\).*external_request_id=cmpl-own2-0-", server_log(healthy, "decode"))


def test_a_salt_knocks_out_and_a_tag_does_not(healthy):
    tokens = prompt()
    ask(healthy, "prefill", tokens)
    tagged = {"kv_transfer_params": {"cached_token_stats": True, "lmcache.tag.x": "1", "lmcache.skip_save": "true"}}
    assert hit(ask(healthy, "decode", tokens, cache_salt="other")) == 0
    assert hit(ask(healthy, "decode", tokens, **tagged)) == 512


def test_damaged_kv_would_show(healthy):
    """The text follows from the KV that was read, so another prompt's KV under this key would give another text."""
    one, other = prompt(), prompt()
    texts = [ask(healthy, "prefill", tokens)["choices"][0]["text"] for tokens in (one, other)]
    assert texts[0] != texts[1]


def test_counters_appear_with_their_first_increment(slots, tmp_path):
    with slots.take() as slot, Cluster(slot.lab(tmp_path / "lab", "mp")) as cluster:
        before = series(cluster, "decode")
        assert not [name for name in before if name.startswith("lmcache_mp_lookup")]
        tokens = prompt()
        ask(cluster, "prefill", tokens)
        ask(cluster, "decode", tokens)
        after, holder = series(cluster, "decode"), series(cluster, "prefill")
        assert after["lmcache_mp_lookup_requested_tokens_total"] == 512
        assert after["lmcache_mp_lookup_hit_l2_tokens_total"] == 512
        assert after["lmcache_mp_lookup_hit_l1_tokens_total"] == 0
        assert after["lmcache_mp_l2_load_completed_requests_total"] == 1
        assert holder["lmcache_mp_l1_write_chunks_total"] == 2
        engine = requests.get(f"http://{cluster.addresses['decode']}:8000/metrics", timeout=5).text
        assert 'vllm:lmcache_mp_lookup_duration_seconds_count{engine="0",model_name="tiny"} 1.0' in engine
        assert 'source="external_kv_transfer"} 512.0' in engine


@pytest.mark.parametrize(("fault", "expected"), [
    ({"prefill": {"server": {"p2p-advertise-url": None}}}, {"p2p_enabled": False, "p2p_state": "unregistered"}),
    ({"prefill": {"server": {"chunk-size": 128}}}, {"chunk_size": 128, "p2p_peer_count": 1}),
    ({"prefill": {"server": {"hash-algorithm": "sha256_cbor"}}}, {"hash_algorithm": "sha256_cbor"}),
    ({"other_coordinator": True, "prefill": {"server": {"coordinator-url": "http://{{ address.controller }}:9301"}}},
     {"p2p_state": "registered", "p2p_peer_count": 0}),
    ({"after_start": "stop", "who": "coordinator"}, {"p2p_state": "unregistered", "p2p_peer_count": 0}),
])  # fmt: skip
def test_a_broken_cluster_recomputes_and_its_status_tells(slots, tmp_path, fault, expected):
    with slots.take() as slot, Cluster(slot.lab(tmp_path / "lab", "mp"), fault) as cluster:
        told_by = ("prefill", "decode") if fault.get("who") == "coordinator" else ("prefill",)
        deadline = time.monotonic() + 20
        for role in told_by:  # each server notices in its own time
            while {name: status(cluster, role)[name] for name in expected} != expected:
                assert time.monotonic() < deadline, status(cluster, role)
                time.sleep(0.3)
        tokens = prompt()
        ask(cluster, "prefill", tokens)
        assert hit(ask(cluster, "decode", tokens)) == 0
        chunk = expected.get("chunk_size", 256)
        assert hit(ask(cluster, "prefill", tokens)) == 738 // chunk * chunk


def test_an_engine_whose_server_is_gone_waits(slots, tmp_path):
    """Until its next heartbeat tells it; from then on it computes."""
    fault = {"all": {"connector": {"kv_connector_extra_config": {"lmcache.mp.heartbeat_interval": 4.0}}},
             "after_start": "stop", "who": "decode-server"}  # fmt: skip
    with slots.take() as slot, Cluster(slot.lab(tmp_path / "lab", "mp"), fault) as cluster:
        with pytest.raises(requests.Timeout):
            ask(cluster, "decode", prompt(), limit_s=1.0)
        assert requests.get(f"http://{cluster.addresses['decode']}:8000/health", timeout=5).ok


def test_every_rank_has_keys_of_its_own(slots, tmp_path):
    ranks = 2
    fault = {"all": {"arguments": ["--tensor-parallel-size", str(ranks)]}}
    with slots.take() as slot, Cluster(slot.lab(tmp_path / "lab", "mp"), fault) as cluster:
        tokens = prompt()
        ask(cluster, "prefill", tokens)
        assert hit(ask(cluster, "decode", tokens, "tp")) == 512
        assert re.search(r"4/4 retained keys \(0 L1, 4 L2\).*cmpl-tp-0-", server_log(cluster, "decode"))
        meta = status(cluster, "decode")["non_cuda_context_meta"]
        assert len(meta) == ranks
        assert {one["world_size"] for one in meta.values()} == {ranks}
        assert status(cluster, "prefill")["storage_manager"]["l1_manager"]["total_object_count"] == 4
