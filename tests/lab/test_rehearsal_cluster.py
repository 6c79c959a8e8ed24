# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""Hits follow from the configuration: small stories on a cluster of two nodes and a controller."""

from __future__ import annotations

import asyncio

import pytest
from rehearsal import Stage, cached, play, prompt

SHORT_WAIT = {"lookup_timeout_ms": 200}


async def reuse(stage: Stage, *, seed: int = 1, tokens: int = 600, wait: int | None = None) -> dict:
    """Seeds on p, waits until so many keys are announced, asks d for the same prompt."""
    await stage.ask("p", prompt(seed, tokens), f"seed{seed}")
    if wait is None:
        wait = tokens // 256
    if wait:
        await stage.announced("p", wait)
    return await stage.ask("d", prompt(seed, tokens), f"reuse{seed}")


def test_a_prefix_is_reused_from_the_peer(tmp_path):
    async def story(stage):
        await stage.registered()
        seeded = await stage.ask("p", prompt(1), "seed", logprobs=5)
        await stage.announced("p", 2)
        answer = await stage.ask("d", prompt(1), "reuse", logprobs=5)
        tagged = {"lmcache.tag.x": "1", "lmcache.skip_save": "true"}
        cold = await stage.ask("d", prompt(1), "cold", logprobs=5, kv_transfer_params=tagged)
        again = await stage.ask("d", prompt(1), "again")
        return seeded, answer, cold, again, stage.kinds("p", "reuse"), stage.kinds("d", "reuse"), stage.events("d")

    seeded, answer, cold, again, holder, receiver, events = play(tmp_path, story)
    assert [cached(one) for one in (seeded, answer, cold, again)] == [0, 512, 0, 512]
    assert answer["choices"][0]["logprobs"] == cold["choices"][0]["logprobs"] == seeded["choices"][0]["logprobs"]
    assert holder == ["peer_asked"]
    assert receiver == ["responded", "looked_up", "retrieved"]
    layouts = [event for event in events if event["kind"] == "layout"]
    assert [(one["instance"], one["chunks"]) for one in layouts] == [("p", 2)] * 3
    assert [event["code"] for event in events if event["kind"] == "peer_error"] == ["P2P_SERVER_ERROR"]


@pytest.mark.parametrize(("changes", "layouts"), [
    ({"d": {"lmcache": {"enable_p2p": False}}}, []),
    ({"p": {"lmcache": {"enable_async_loading": False}}, "d": {"lmcache": {"enable_async_loading": False}}}, []),
    ({"d": {"lmcache": {"chunk_size": 128}}}, [0]),
    ({"d": {"env": {"PYTHONHASHSEED": "1"}}}, [0]),
    ({"d": {"lmcache": {"pre_caching_hash_algorithm": "sha256"}}}, [0]),
    ({"d": {"lmcache": {"enable_p2p": "yes"}}}, []),
    ({"d": {"lmcache": {"enable_p2p": None, "enable_p2pp": True}}}, []),
    ({"d": {"model": "elsewhere/rehearsal-model"}}, [2]),
    ({"d": {"arguments": ["--dtype", "float16"]}}, [2]),
])  # fmt: skip
def test_a_setting_that_differs_prevents_it(tmp_path, changes, layouts):
    async def story(stage):
        await stage.registered()
        answer = await reuse(stage)
        return cached(answer), [one["chunks"] for one in stage.events("d") if one["kind"] == "layout"]

    assert play(tmp_path, story, changes) == (0, layouts)


def test_two_nodes_with_one_id_do_not_find_each_other(tmp_path):
    same = {"lmcache": {"lmcache_instance_id": "same"}}

    async def story(stage):
        await stage.registered(1)
        await stage.ask("p", prompt(1), "seed")
        await stage.announced("same", 2)
        answer = await stage.ask("d", prompt(1), "reuse")
        return cached(answer), (tmp_path / "c.log").read_text()

    hits, log = play(tmp_path, story, {"p": same, "d": same})
    assert hits == 0
    assert "already registered, skip registration" in log


def test_what_is_not_kept_is_not_announced(tmp_path):
    async def story(stage):
        await stage.registered()
        answer = await reuse(stage, wait=0)
        return cached(answer), stage.kinds("p", "seed1"), (await stage.get("c", "/controller/key-stats", 9000))[1]

    hits, kinds, stats = play(tmp_path, story, {"p": {"lmcache": {"local_cpu": False}}})
    assert hits == 0
    assert kinds == ["looked_up", "stored"]
    assert stats["instances"][0] == {"instance_id": "p", "key_count": 0, "worker_count": 1}


def test_a_full_pool_evicts_and_says_so(tmp_path):
    three_chunks = {"lmcache": {"max_local_cpu_size": 3 * 2**21 / 2**30}}  # a chunk of the rehearsal model has 2 MiB

    async def story(stage):
        await stage.registered()
        await stage.ask("p", prompt(1), "first")
        await stage.announced("p", 2)
        await stage.ask("p", prompt(2), "second")
        await stage.ask("p", prompt(3, 1200), "third")
        await asyncio.sleep(0.1)
        answer = await stage.ask("d", prompt(1), "reuse")
        _status, stats = await stage.get("c", "/controller/key-stats", 9000)
        return cached(answer), stats["instances"][0]["key_count"], stage.kinds("p")

    hits, keys, kinds = play(tmp_path, story, {"p": three_chunks})
    assert hits == 0
    assert keys == 3
    assert "memory_pressure" in kinds


def test_without_a_controller_lookups_time_out_and_registration_is_given_up(tmp_path):
    wait = {"lmcache": {**SHORT_WAIT, "controller_pull_url": "127.0.0.1:9", "controller_reply_url": "127.0.0.1:9"}}

    async def story(stage):
        answer = await reuse(stage, wait=0)
        await asyncio.sleep(1.2)  # the limit that FAST sets for an answer of the controller
        return cached(answer), stage.kinds("d", "reuse1"), stage.kinds("d")

    hits, kinds, everything = play(tmp_path, story, {"p": wait, "d": wait}, controller=False)
    assert hits == 0
    assert kinds == ["lookup_timed_out", "looked_up", "stored"]
    assert "register_failed" in everything
    assert "controller_timed_out" in everything


def test_an_advertised_address_that_nobody_answers_is_dialled_for_ever(tmp_path):
    changes = {"p": {"lmcache": {"p2p_host": "127.0.0.200"}, "env": {"LAB_FAULT": "listen-elsewhere"}},
               "d": {"lmcache": SHORT_WAIT}}  # fmt: skip

    async def story(stage):
        await stage.registered()
        answer = await reuse(stage)
        return cached(answer), stage.kinds("d", "reuse1"), stage.kinds("d")

    hits, kinds, everything = play(tmp_path, story, changes)
    assert hits == 0
    assert kinds == ["lookup_timed_out", "looked_up", "stored"]
    assert "peer_connected" not in everything
    assert "layout" in everything


def test_an_address_of_somebody_else_cannot_be_bound(tmp_path):
    async def story(stage):
        await asyncio.sleep(0.2)
        return stage.kinds("p")

    assert play(tmp_path, story, {"p": {"lmcache": {"p2p_host": "192.0.2.1"}}}).count("handler_crashed") >= 2


def test_a_degraded_engine_answers_without_lmcache(tmp_path):
    async def story(stage):
        answer = await stage.ask("d", prompt(1), "one")
        return (answer["choices"][0]["finish_reason"], stage.kinds("d"),
                await stage.get("d", "/backends", 7000), await stage.get("d", "/hot_cache/status", 7000))  # fmt: skip

    finish, kinds, backends, hot = play(tmp_path, story, {"d": {"lmcache": {"nixl_backends": ["BOGUS"], **SHORT_WAIT}}})
    assert finish == "length"
    assert {"init_failed", "degraded", "lookup_server_error", "lookup_timed_out", "unhealthy"} <= set(kinds)
    assert backends[0] == 503
    assert hot[1]["hot_cache"] is False


def test_pd_and_p2p_end_the_engine(tmp_path):
    pd = {"enable_pd": True, "pd_role": "sender", "pd_buffer_size": 1, "pd_buffer_device": "cpu"}

    async def story(stage):
        return set(stage.members.gave_up), stage.kinds("p")

    gave_up, kinds = play(tmp_path, story, {"p": {"lmcache": pd}})
    assert gave_up == {"p"}
    assert "pd_p2p_conflict" in kinds


def test_below_min_retrieve_nothing_is_loaded(tmp_path):
    async def story(stage):
        await stage.registered()
        answer = await reuse(stage)
        return cached(answer), stage.kinds("d", "reuse1")

    hits, kinds = play(tmp_path, story, {"d": {"lmcache": {"min_retrieve_tokens": 1000}}})
    assert hits == 0
    assert kinds == ["responded", "below_min_retrieve"]


def test_vllms_own_prefix_cache_masks_lmcache(tmp_path):
    async def story(stage):
        await stage.registered()
        await stage.ask("d", prompt(1), "first")
        again = await stage.ask("d", prompt(1), "again")
        salted = await stage.ask("d", prompt(1), "salted", cache_salt="other")
        return cached(again), cached(salted), stage.events("d", "again"), stage.events("d", "salted")

    again, salted, masked, seen = play(tmp_path, story, {"d": {"arguments": ["--enable-prefix-caching"]}})
    assert (again, salted) == (512, 512)
    looked = {name: next(one for one in events if one["kind"] == "looked_up")
              for name, events in (("masked", masked), ("seen", seen))}  # fmt: skip
    assert (looked["masked"]["computed"], looked["masked"]["need"]) == (512, 0)
    assert (looked["seen"]["computed"], looked["seen"]["need"]) == (0, 512)


def test_a_prompt_in_steps_is_stored_in_steps(tmp_path):
    async def story(stage):
        await stage.ask("p", prompt(1, 1300), "long")
        return [one["tokens"] for one in stage.events("p", "long") if one["kind"] == "stored"]

    assert play(tmp_path, story, {"p": {"arguments": ["--max-num-batched-tokens", "600"]}}) == [512, 512, 256]


def test_values_that_are_no_strings_stall_the_lookup(tmp_path):
    async def story(stage):
        await stage.registered()
        await stage.ask("d", prompt(1), "bad", kv_transfer_params={"lmcache.skip_save": True})
        return stage.kinds("d", "bad"), stage.kinds("d")

    kinds, everything = play(tmp_path, story, {"d": {"lmcache": SHORT_WAIT}})
    assert kinds == ["lookup_timed_out", "looked_up"]
    assert "lookup_server_error" in everything


def test_with_two_ranks_the_second_gets_nothing(tmp_path):
    two = {"arguments": ["--tensor-parallel-size", "2"]}
    ports = {"p2p_init_ports": [8200, 8210], "p2p_lookup_ports": [8201, 8211]}

    def node(first):
        return {**two, "lmcache": {**ports, "lmcache_worker_ports": [first, first + 1]}}

    async def story(stage):
        await stage.registered(4)
        answer = await reuse(stage)
        responded = [one["length"] for one in stage.events("d", "reuse1") if one["kind"] == "responded"]
        return cached(answer), sorted(responded), (await stage.get("d", "/meta", 7001))[1]["worker_id"]

    assert play(tmp_path, story, {"p": node(61001), "d": node(61003)}) == (0, [0, 512], 1)


def test_a_restarted_engine_keeps_its_old_registration(tmp_path):
    async def story(stage):
        await stage.registered()
        await stage.ask("p", prompt(1), "seed")
        await stage.announced("p", 2)
        await stage.members.stop_member("p")
        await stage.members.start_member("p")
        await asyncio.sleep(0.2)
        first = await reuse(stage, seed=2)
        return cached(first), stage.kinds("p"), (tmp_path / "c.log").read_text()

    hits, kinds, log = play(tmp_path, story)
    assert hits == 512  # same addresses: the old registration still fits
    assert "already registered, skip registration" in log
    assert kinds.count("engine_started") == 2


def test_a_restarted_holder_does_not_know_its_peers(tmp_path):
    async def story(stage):
        await stage.registered()
        await reuse(stage, seed=1)
        await stage.members.stop_member("p")
        await stage.members.start_member("p")
        await asyncio.sleep(0.2)
        answer = await reuse(stage, seed=2)
        return cached(answer), stage.kinds("p")

    hits, kinds = play(tmp_path, story)
    assert hits == 512
    assert "receiver_unknown" in kinds


def test_a_controller_that_came_back_has_forgotten_everybody(tmp_path):
    async def story(stage):
        await stage.registered()
        await stage.members.stop_member("c")
        await stage.members.start_member("c")
        answer = await reuse(stage, wait=0)
        _status, workers = await stage.get("c", "/controller/workers", 9000)
        return cached(answer), workers["total_count"]

    assert play(tmp_path, story, {"d": {"lmcache": SHORT_WAIT}}) == (0, 0)


def test_with_heartbeats_workers_come_back(tmp_path):
    beats = {"lmcache": {"lmcache_worker_heartbeat_time": 1, "lmcache_worker_heartbeat_delay_time": 0}}

    async def story(stage):
        await stage.registered()
        await stage.ask("p", prompt(1), "seed")
        await stage.announced("p", 2)
        await stage.members.stop_member("c")
        await stage.members.start_member("c")
        for _ in range(60):
            _status, workers = await stage.get("c", "/controller/workers", 9000)
            if workers["total_count"] == 2 and max(one["key_count"] for one in workers["workers"]) == 2:
                break
            await asyncio.sleep(0.1)
        return cached(await stage.ask("d", prompt(1), "reuse"))

    assert play(tmp_path, story, {"c": {"heartbeat": 8082}, "p": beats, "d": beats}) == 512


def test_as_shipped_some_replies_stall(tmp_path):
    async def story(stage):
        await stage.registered()
        lost = await reuse(stage, seed=1)
        return cached(lost), stage.kinds("d", "reuse1")

    hits, kinds = play(tmp_path, story, {"d": {"lmcache": SHORT_WAIT, "parameters": {"lookup_loss": 1.0}}})
    assert hits == 0
    assert kinds == ["lookup_timed_out", "looked_up", "stored"]


def test_a_store_that_is_shared_answers_without_a_peer(tmp_path):
    shared = {"lmcache": {"enable_p2p": False, "remote_url": f"file://host{tmp_path}/store"}}

    async def story(stage):
        await stage.registered()
        answer = await reuse(stage, wait=0)
        return cached(answer), (await stage.get("d", "/backends", 7000))[1], stage.kinds("p", "reuse1")

    hits, backends, asked = play(tmp_path, story, {"p": shared, "d": shared})
    assert hits == 512
    assert list(backends) == ["LocalCPUBackend", "RemoteBackend"]
    assert asked == []


@pytest.mark.parametrize("fault", ["zero-keys-on-load", "zero-kv-on-load", "zero-chunk-on-load", "swap-chunks-on-load"])
def test_damaged_kv_is_a_hit_and_wrong(tmp_path, fault):
    async def story(stage):
        await stage.registered()
        seeded = await stage.ask("p", prompt(1), "seed", logprobs=5)
        await stage.announced("p", 2)
        answer = await stage.ask("d", prompt(1), "reuse", logprobs=5)
        return cached(answer), seeded["choices"][0]["logprobs"] == answer["choices"][0]["logprobs"]

    assert play(tmp_path, story, {"d": {"parameters": {"fault": fault}}}) == (512, False)


def test_other_weights_are_a_hit_and_wrong(tmp_path):
    async def story(stage):
        await stage.registered()
        await stage.ask("p", prompt(1), "seed")
        await stage.announced("p", 2)
        reused = await stage.ask("d", prompt(1), "reuse", logprobs=5)
        tag = {"lmcache.tag.x": "1", "lmcache.skip_save": "true"}
        cold = await stage.ask("d", prompt(1), "cold", logprobs=5, kv_transfer_params=tag)
        return cached(reused), reused["choices"][0]["logprobs"] == cold["choices"][0]["logprobs"]

    assert play(tmp_path, story, {"p": {"parameters": {"weights": "another"}}}) == (512, False)


def test_a_load_that_fails_fails_the_request(tmp_path):
    async def story(stage):
        await stage.registered()
        answer = await reuse(stage)
        return answer["error"]["code"], stage.events("d", "reuse1")

    code, events = play(tmp_path, story, {"d": {"parameters": {"fault": "load-fails"}}})
    assert code == 500
    assert [one["hit"] for one in events if one["kind"] == "looked_up"] == [512]
    assert [one["tokens"] for one in events if one["kind"] == "retrieved"] == [0]


def test_a_peer_that_hangs_times_out(tmp_path):
    async def story(stage):
        await stage.registered()
        answer = await reuse(stage)
        return cached(answer), stage.kinds("p", "reuse1"), stage.kinds("d", "reuse1")

    changes = {"p": {"parameters": {"fault": "peer-hangs"}}, "d": {"lmcache": SHORT_WAIT}}
    hits, holder, receiver = play(tmp_path, story, changes)
    assert hits == 0
    assert holder == ["peer_asked"]
    assert receiver == ["lookup_timed_out", "looked_up", "stored"]


@pytest.mark.parametrize(("changes", "said"), [
    ({"lmcache": {"p2p_host": "::1"}}, ("handler_crashed", "No such device (addr='tcp://::1:8201')")),
    ({"lmcache": {"p2p_host": "192.0.2.1"}}, ("handler_crashed", "Cannot assign requested address "
                                                                 "(addr='tcp://192.0.2.1:8201')")),
    ({"lmcache": {"controller_pull_url": "tcp://127.0.0.9:1"}},
     ("degraded", "zmq.error.ZMQError: Invalid argument (addr='tcp://tcp://127.0.0.9:1')")),
    ({"lmcache": {"transfer_channel": "tcp"}}, ("degraded", "ValueError: Unsupported channel type: tcp")),
])  # fmt: skip
def test_an_address_or_a_channel_that_cannot_be_had_is_only_logged(tmp_path, changes, said):
    async def story(stage):
        await stage.ask("p", prompt(1), "seed")
        return [(event["kind"], event.get("text")) for event in stage.events("p")]

    assert said in play(tmp_path, story, {"p": changes})


def test_a_lookup_port_that_nobody_gets_through_to(tmp_path):
    async def story(stage):
        await stage.registered()
        answer = await reuse(stage)
        return cached(answer), stage.kinds("p"), stage.kinds("d")

    changes = {"p": {"parameters": {"fault": "lookup-port-shut"}}, "d": {"lmcache": SHORT_WAIT}}
    hits, holder, receiver = play(tmp_path, story, changes)
    assert (hits, "peer_asked" in holder) == (0, False)
    assert receiver.index("peer_connected") < receiver.index("lookup_timed_out")


def test_the_log_level_hides_the_lines(tmp_path):
    async def story(stage):
        await stage.registered()
        answer = await reuse(stage)
        return cached(answer), stage.kinds("d", "reuse1"), stage.kinds("d")

    hits, kinds, everything = play(tmp_path, story, {"d": {"env": {"LMCACHE_LOG_LEVEL": "WARNING"}}})
    assert (hits, kinds) == (512, [])
    assert "engine_started" in everything
