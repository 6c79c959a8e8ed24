# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""Rehearsed engines that prefill for others: KV goes from process to process, and what kills real ones kills these."""

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

OFFER = {"do_remote_decode": True, "do_remote_prefill": False, "remote_engine_id": None, "remote_block_ids": None,
         "remote_host": None, "remote_port": None}  # fmt: skip
SHORT_LEASE = {"all": {"connector": {"kv_connector_extra_config": {"kv_lease_duration": 1}}}}


@pytest.fixture(scope="module")
def slots():
    return Slots()


def prompt(tokens: int = 738) -> list[int]:
    return [random.randrange(300, 2000) for _ in range(tokens)]


def post(cluster, role: str, tokens: list[int], params: dict | None = None, limit_s: float = 30, **more):
    body = {"model": "tiny", "prompt": tokens, "max_tokens": 8, "temperature": 0, "kv_transfer_params": params, **more}
    return requests.post(f"http://{cluster.addresses[role]}:8000/v1/completions", json=body, timeout=limit_s)


def ask(cluster, role: str, tokens: list[int], params: dict | None = None, **more) -> dict:
    reply = post(cluster, role, tokens, params, **more)
    reply.raise_for_status()
    return reply.json()


def text(answer: dict) -> str:
    return answer["choices"][0]["text"]


def page(cluster, role: str) -> dict[str, float]:
    found: dict[str, float] = {}
    body = requests.get(f"http://{cluster.addresses[role]}:8000/metrics", timeout=5).text
    for family in text_string_to_metric_families(body):
        for sample in family.samples:
            name = sample.name + (f"/{sample.labels['source']}" if "source" in sample.labels else "")
            found[name] = found.get(name, 0.0) + sample.value
    return found


class Window:
    """How counters of an engine rose; only those that matter here."""

    def __init__(self, cluster, role: str):
        self._cluster, self._role, self._before = cluster, role, page(cluster, role)

    def rises(self) -> dict[str, float]:
        after = page(self._cluster, self._role)
        return {name: after.get(name, 0.0) - self._before.get(name, 0.0) for name in after}


# ---- NixlConnector


@pytest.fixture(scope="module")
def nixl(slots, tmp_path_factory):
    with slots.take() as slot, Cluster(slot.lab(tmp_path_factory.mktemp("nixl"), "nixl_pd")) as cluster:
        yield cluster


def prefilled(cluster, tokens: list[int]) -> dict:
    return ask(cluster, "prefill", tokens, OFFER, max_tokens=1)["kv_transfer_params"]


def test_an_offer_has_the_real_ones_fields(nixl):
    offer = prefilled(nixl, prompt())
    assert {name: offer[name] for name in offer if name not in ("remote_engine_id", "remote_request_id")} == {
        "do_remote_prefill": True, "do_remote_decode": False, "remote_block_ids": offer["remote_block_ids"],
        "remote_host": nixl.addresses["prefill"], "remote_port": 5600, "tp_size": 1, "dcp_size": 1, "pp_size": 1,
        "remote_num_tokens": 738, "remote_blocks_expiry_time": None, "transfer_mode": "pull",
        "remote_prefill_cached_tokens": 0}  # fmt: skip
    assert len(offer["remote_block_ids"][0]) == 6
    assert re.fullmatch(r"[0-9a-f-]{36}", offer["remote_engine_id"])


def test_a_pulled_prompt_is_counted_as_the_real_ones(nixl):
    tokens = prompt()
    offer, window = prefilled(nixl, tokens), Window(nixl, "decode")
    answer = ask(nixl, "decode", tokens, offer)
    rises = window.rises()
    assert answer["kv_transfer_params"] is None
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    assert {name: value for name, value in rises.items() if "source" in name and value} == {
        "vllm:prompt_tokens_by_source_total/external_kv_transfer": 738,
        "vllm:prompt_tokens_cached_by_source_total/p2p": 738,
    }
    assert rises["vllm:nixl_xfer_time_seconds_count"] == 1
    assert rises["vllm:nixl_num_failed_transfers_total"] == 0
    assert rises["vllm:request_prefill_kv_computed_tokens_sum"] == 738  # as vLLM counts it, and wrong
    assert text(ask(nixl, "decode", tokens)) == text(answer)


def test_a_dropped_offer_is_a_recompute(nixl):
    tokens = prompt()
    prefilled(nixl, tokens)
    window = Window(nixl, "decode")
    ask(nixl, "decode", tokens)
    assert window.rises()["vllm:prompt_tokens_by_source_total/local_compute"] == 738


def test_used_up_params_bring_another_prompts_kv_and_decode_counts_a_success(nixl):
    tokens = prompt()
    offer = prefilled(nixl, tokens)
    right = text(ask(nixl, "decode", tokens, offer))
    ask(nixl, "prefill", prompt())  # takes the blocks, and lets the engine look at its notifications
    after_expiry, window = Window(nixl, "prefill"), Window(nixl, "decode")
    wrong = ask(nixl, "decode", tokens, offer)
    assert text(wrong) != right
    assert window.rises()["vllm:prompt_tokens_by_source_total/external_kv_transfer"] == 738
    assert after_expiry.rises()["vllm:nixl_num_notifications_after_expiry_total"] == 0  # an idle engine makes no step
    ask(nixl, "prefill", prompt(5), max_tokens=1)
    assert after_expiry.rises()["vllm:nixl_num_notifications_after_expiry_total"] == 1
    assert f"unrecognized request {offer['remote_request_id']} were" in nixl.log("prefill").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("changed", [{"remote_port": 5699, "remote_engine_id": "0"}, {"remote_engine_id": "1"}])
def test_a_failed_handshake_is_a_500_that_some_counters_call_a_hit(nixl, changed):
    tokens = prompt()
    offer, window = {**prefilled(nixl, tokens), **changed}, Window(nixl, "decode")
    reply = post(nixl, "decode", tokens, offer)
    assert (reply.status_code, reply.json()["error"]["message"]) == (500, "Internal server error")
    rises = window.rises()
    assert rises["vllm:prompt_tokens_by_source_total/external_kv_transfer"] == 0
    assert rises["vllm:prompt_tokens_cached_by_source_total/p2p"] == 738
    assert rises["vllm:nixl_num_failed_transfers_total"] == 1
    log = nixl.log("decode").read_text()
    for said in ("NIXL transfer failure: handshake_failed | Context: {'failure_type': 'handshake_failed'",
                 "Failing 1 request(s) due to KV load failure (failure_policy=fail, 738 tokens affected)"):  # fmt: skip
        assert said in log


def test_blocks_that_nobody_fetches_are_released(slots, tmp_path):
    with slots.take() as slot, Cluster(slot.lab(tmp_path / "lab", "nixl_pd"), SHORT_LEASE) as cluster:
        tokens = prompt()
        offer, window = prefilled(cluster, tokens), Window(cluster, "prefill")
        time.sleep(1.6)
        said = f"Releasing expired KV blocks for request {offer['remote_request_id']} which were retrieved by 0 remote"
        assert said in cluster.log("prefill").read_text()
        assert window.rises()["vllm:nixl_num_kv_expired_reqs_total"] == 0
        ask(cluster, "prefill", prompt(), max_tokens=1)
        assert window.rises()["vllm:nixl_num_kv_expired_reqs_total"] == 1
        assert text(ask(cluster, "decode", tokens, offer)) != text(ask(cluster, "decode", tokens))


def test_engines_that_do_not_fit_never_meet_and_half_of_the_params_kills(slots, tmp_path):
    fault = {"decode": {"arguments": ["--dtype", "bfloat16"]}}
    with slots.take() as slot, Cluster(slot.lab(tmp_path / "lab", "nixl_pd"), fault) as cluster:
        tokens = prompt()
        assert post(cluster, "decode", tokens, prefilled(cluster, tokens)).status_code == 500
        assert "RuntimeError: NIXL compatibility hash mismatch. Local: " in cluster.log("decode").read_text()
        assert post(cluster, "decode", tokens, {"do_remote_prefill": True}).status_code == 500
        gone(cluster, "decode")


def gone(cluster, role: str) -> None:
    time.sleep(0.5)
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://{cluster.addresses[role]}:8000/health", timeout=5)
    assert "EngineCore encountered a fatal error." in cluster.log(role).read_text()


# ---- LMCache's prefill/decode transfer


@pytest.fixture
def pd(slots, tmp_path):
    with slots.take() as slot, Cluster(slot.lab(tmp_path / "lab", "lmcache_pd")) as cluster:
        yield cluster


def spec(cluster, **changed) -> dict:
    usual = {"req_id": "r", "receiver_host": cluster.addresses["decode"], "receiver_init_port": [7300],
             "receiver_alloc_port": [cluster.lab.nodes[1].lmcache_worker_port]}  # fmt: skip
    return {"ret_first_tok": True, "disagg_spec": {**usual, **changed}}


def sent(cluster, tokens: list[int], **changed) -> dict:
    answer = ask(cluster, "prefill", tokens, spec(cluster, **changed), max_tokens=1)
    time.sleep(0.3)
    return answer


def cached(answer: dict) -> int:
    return answer["usage"]["prompt_tokens_details"]["cached_tokens"]


def test_a_receiver_hands_its_kv_out_once(pd):
    tokens = prompt()
    first = sent(pd, tokens)["kv_transfer_params"]["first_tok"]
    answer = ask(pd, "decode", tokens)
    again = ask(pd, "decode", tokens)
    assert (cached(answer), cached(again), text(answer) == text(again)) == (737, 0, True)
    assert isinstance(first, int)
    assert "vllm:num_requests_kv_fetch_by_stage" not in page(pd, "prefill")
    assert "vllm:num_requests_kv_fetch_by_stage" in page(pd, "decode")
    internal = pd.lab.nodes[1].internal_api_port
    assert requests.get(f"http://127.0.0.1:{internal + 1}/backends", timeout=5).json() == {
        "PDBackend": "PDBackendAsync"
    }


@pytest.mark.parametrize("params", [None, {"lmcache.skip_save": "true"}])
def test_a_sender_dies_of_a_request_without_a_receiver(pd, params):
    reply = post(pd, "prefill", prompt(1), params, max_tokens=1)
    assert (reply.status_code, reply.json()["error"]["message"][:28]) == (500, "EngineCore encountered an is")
    gone(pd, "prefill")
    assert "'NoneType' object has no attribute 'receiver_init_port'" in pd.log("prefill").read_text()


def test_a_receiver_dies_of_half_a_disagg_spec_and_of_no_other_request(pd):
    for params in (None, {"lmcache.skip_save": "true"}, spec(pd)):
        assert cached(ask(pd, "decode", prompt(), params)) == 0
    assert post(pd, "decode", prompt(), {"disagg_spec": {"req_id": "x"}}).status_code == 500
    gone(pd, "decode")


def test_a_wrong_alloc_port_poisons_the_sender_for_that_receiver(pd):
    for changed in ({"receiver_alloc_port": [7999]}, {}):
        tokens = prompt()
        sent(pd, tokens, **changed)
        assert cached(ask(pd, "decode", tokens)) == 0
    assert len(re.findall(r"Stored 738 out of total 738", pd.log("prefill").read_text())) == 2


def test_a_wrong_init_port_wedges_the_sender(pd):
    for params in (spec(pd, receiver_init_port=[7999]), spec(pd)):
        with pytest.raises(requests.Timeout):
            post(pd, "prefill", prompt(), params, limit_s=1)
    assert requests.get(f"http://{pd.addresses['prefill']}:8000/health", timeout=5).status_code == 200


RESTARTED = {"after_start": "restart", "who": "decode"}


def test_a_receiver_that_was_restarted_is_lost_to_a_sender_that_had_met_it(slots, tmp_path):
    with slots.take() as slot, Cluster(slot.lab(tmp_path / "lab", "lmcache_pd")) as cluster:
        sent(cluster, prompt())
        cluster.fault = RESTARTED
        cluster.restart()
        tokens = prompt()
        sent(cluster, tokens)
        assert cached(ask(cluster, "decode", tokens)) == 0
        log = cluster.log("prefill").read_text()
        for said in ("Async transfer task failed: NIXL_ERR_REMOTE_DISCONNECT", "[ABORT] req=r _abort_request starting"):
            assert said in log


def test_a_buffer_that_is_too_small_and_a_backend_that_is_not_made(slots, tmp_path):
    fault = {"decode": {"lmcache": {"pd_buffer_size": 5 << 20}}, "prefill": {"lmcache": {
        "pd_proxy_host": None}}}  # fmt: skip
    with slots.take() as slot, Cluster(slot.lab(tmp_path / "small", "lmcache_pd"), {"decode": fault["decode"]}) as one:
        tokens = prompt()
        sent(one, tokens)
        assert cached(ask(one, "decode", tokens)) == 0
        assert "PD receiver buffer too small for req r: the request needs 3" in one.log("decode").read_text()
    with slots.take() as slot, Cluster(slot.lab(tmp_path / "none", "lmcache_pd"), {"prefill": fault["prefill"]}) as one:
        tokens = prompt()
        sent(one, tokens)
        assert cached(ask(one, "decode", tokens)) == 0
        assert cached(ask(one, "prefill", tokens)) == 0  # nothing is sent, so nothing is missed
        assert "LMCacheEngine marked as init failed" in one.log("prefill").read_text()
