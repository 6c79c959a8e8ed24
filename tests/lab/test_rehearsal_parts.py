# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""Parts of the rehearsal on their own: configuration, hashes, tokenizer, model, pool, registry, wire."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from array import array

import pytest
import rehearsal

from lab.rehearsal import faults
from lab.rehearsal.hashing import ChunkHasher, string_hash
from lab.rehearsal.lmconfig import Refused, load
from lab.rehearsal.model import Model
from lab.rehearsal.registry import Registry
from lab.rehearsal.settings import Parameters, engine_options
from lab.rehearsal.store import Key, Pool, SharedStore
from lab.rehearsal.tokenizer import learn, standard
from lab.rehearsal.wire import Client, NoReply, Server


def config(tmp_path, text="", env=None, connector=None):
    """(settings, entries written to the log) of an LMCache file."""
    path = tmp_path / "lmcache.yaml"
    path.write_text(text)
    said = []

    def say(line, /, **_values):
        said.append(line)

    found = load({"LMCACHE_CONFIG_FILE": str(path), **(env or {})}, connector, say)
    return found, said


# ---- configuration


@pytest.mark.parametrize(("text", "key", "value"), [
    ("", "chunk_size", 256),
    ("chunk_size: '64'", "chunk_size", 64),
    ("local_cpu: 'yes'", "local_cpu", False),
    ("local_cpu: 'True'", "local_cpu", True),
    ("local_cpu: 1", "local_cpu", True),
    ("p2p_init_ports: 8200", "p2p_init_ports", [8200]),
    ("p2p_init_ports: 8200, 8210", "p2p_init_ports", [8200, 8210]),
    ("nixl_backends: UCX", "nixl_backends", ["UCX"]),
    ("local_disk: file:///mnt/kv/", "local_disk", "/mnt/kv/"),
    ("chunk_size: many", "chunk_size", None),
])  # fmt: skip
def test_values_are_converted_as_lmcache_does(tmp_path, text, key, value):
    assert config(tmp_path, text)[0][key] == value


def test_later_sources_win(tmp_path):
    connector = {"kv_connector_extra_config": {"lmcache.min_retrieve_tokens": 7, "other": 1}}
    found, _said = config(tmp_path, "chunk_size: 64", {"LMCACHE_CHUNK_SIZE": "128"}, connector)
    assert (found["chunk_size"], found["min_retrieve_tokens"]) == (128, 7)


def test_unknown_and_bad_keys_are_said(tmp_path):
    _found, said = config(tmp_path, "enable_p2pp: true\nchunk_size: x\nexternal_backends: a",
                          {"LMCACHE_MAX_LOCAL_CPU_SIZE": "lots"})  # fmt: skip
    assert said == ["config_file", "config_key_unknown", "config_key_deprecated", "config_value_bad", "config_env_bad"]


@pytest.mark.parametrize(("text", "cause"), [
    ("enable_p2p: true", "AssertionError"),
    ("enable_controller: true", "controller_pull_url is required"),
    ("enable_pd: true\npd_role: sender\npd_buffer_size: 1\npd_buffer_device: cpu\nenable_p2p: true\n"
     "enable_controller: true\ncontroller_pull_url: a:1\ncontroller_reply_url: a:2\nlmcache_worker_ports: 3\n"
     "p2p_host: a\np2p_init_ports: 4\np2p_lookup_ports: 5\ntransfer_channel: nixl", "PD only supports"),
    ("min_retrieve_tokens: -1", "must be >= 0"),
])  # fmt: skip
def test_what_lmcache_refuses_ends_the_engine(tmp_path, text, cause):
    with pytest.raises(Refused, match=cause):
        config(tmp_path, text)


def test_options_and_parameters():
    found = engine_options(["--model", "m", "--port", "8001", "-tp", "2", "--made-up", "x", "--enable-prefix-caching"],
                           {"VLLM_API_KEY": "k"})  # fmt: skip
    assert (found.port, found.world_size, found.prefix_caching, found.api_keys) == (8001, 2, True, ["k"])
    given = Parameters.of({"REHEARSAL": '{"jitter": 0.1}', "REHEARSAL_SEED": "3", "LAB_STALL_FIX": "0"}, {"seed": 4})
    assert (given.jitter, given.seed, given.lookup_loss) == (0.1, 4, 0.15)
    with pytest.raises(ValueError, match="no such parameter: jiter"):
        Parameters.of({"REHEARSAL": '{"jiter": 1}'})


# ---- hashes


@pytest.mark.parametrize("seed", [0, 1, 42, 4294967295])
def test_string_hash_is_pythons(seed):
    text = "a text of some length, 0123456789"
    said = subprocess.run([sys.executable, "-c", f"print(hash({text!r}))"], check=True, capture_output=True, text=True,
                          env={**os.environ, "PYTHONHASHSEED": str(seed)}).stdout  # fmt: skip
    assert string_hash(text, seed) == int(said)


def hasher(algorithm="builtin", size=4, **env):
    return ChunkHasher(algorithm, size, env, lambda: 2**63 + 5)


def test_none_hash_of_seed_zero_is_the_recorded_one():
    assert hasher(PYTHONHASHSEED="0").none_hash == 5313149338359954478


def test_chunks_depend_on_all_before():
    one, other = list(range(10)), [9, *range(1, 10)]
    hashes = [[number for _end, number in hasher(PYTHONHASHSEED="0").chunks(tokens)] for tokens in (one, other)]
    assert len(hashes[0]) == 2
    assert hashes[0][1] != hashes[1][1]
    assert [end for end, _number in hasher(PYTHONHASHSEED="0").chunks(one, partial=True)] == [4, 8, 10]


def test_seed_and_algorithm_decide():
    kinds = [hasher(PYTHONHASHSEED="0"), hasher(PYTHONHASHSEED="1"), hasher(), hasher("sha256"), hasher("sha256_cbor")]
    assert len({one.none_hash for one in kinds}) == len(kinds)
    assert hasher("sha256").none_hash == hasher("sha256").none_hash  # a fixed seed where none is set
    assert not hasher("md5").supported


# ---- tokenizer and model


def test_text_survives_the_tokenizer():
    text = "Words: apple, river | stone\n\n  ünïcode 12345 __x__ "
    ids = standard().encode(text)
    assert standard().decode(ids) == text
    assert len(ids) < len(text.encode())


def test_pieces_are_learnt_by_how_often_they_occur():
    assert learn(["low lower lowest " * 3], 2) == ["lo", "low"]


def generated(model, kv, tokens=12):
    context = model.read(kv)
    found = []
    for _ in range(tokens):
        found.append(context.step())
        context.append(found[-1].token)
    return found


def test_the_model_continues_what_only_the_prefix_tells():
    model, tokenizer = Model("a", standard()), standard()
    words = "apple river stone lamp cloud maple tiger window garden silver paper bridge candle forest mirror".split()
    ids = [token for word in words for token in tokenizer.encode(f" {word}")]
    quoted = [token for word in words[3:6] for token in tokenizer.encode(f" {word}")]
    answer = generated(model, model.compute([*ids, *tokenizer.encode("\nAgain:"), *quoted], array("Q")))
    assert tokenizer.decode(choice.token for choice in answer).startswith(" tiger window garden")


def test_equal_kv_gives_equal_answers_and_other_kv_does_not():
    model, prompt = Model("a", standard()), rehearsal.prompt(1, 300)
    kv = model.compute(prompt, array("Q"))
    reused = array("Q", kv[:256])
    reused.extend(model.compute(prompt[256:], reused))
    assert generated(model, kv) == generated(model, reused)
    for damaged in (faults.loaded("zero-keys-on-load", [kv[:256]])[0],
                    Model("b", standard()).compute(prompt[:256], array("Q"))):  # fmt: skip
        damaged.extend(model.compute(prompt[256:], damaged))
        assert generated(model, damaged)[0].logprob != generated(model, kv)[0].logprob


def test_probabilities_add_up_to_less_than_one():
    model = Model("a", standard())
    choice = generated(model, model.compute(rehearsal.prompt(1, 50), array("Q")), 1)[0]
    assert choice.top[0] == (choice.token, choice.logprob)
    assert [value for _token, value in choice.top] == sorted((value for _token, value in choice.top), reverse=True)
    assert 0.9 < sum(2.718281828**value for _token, value in choice.top) < 1.0


# ---- stores


def key(number, rank=0):
    return Key("model", 1, rank, number, "float", ())


def filled(pool, *numbers):
    for number in numbers:
        assert pool.reserve()
        pool.put(key(number), array("Q", [number]))


def test_the_pool_forgets_what_was_used_longest_ago():
    said = []
    pool = Pool(2, True, lambda what, number: said.append((what, number)))
    filled(pool, 1, 2)
    pool.get(key(1).text)
    filled(pool, 3)
    assert said == [("admit", 1), ("admit", 2), ("evict", 2), ("admit", 3)]
    assert pool.contains([key(1).text, key(2).text, key(3).text]) == 1


def test_pinned_chunks_stay():
    pool = Pool(1, True, lambda *_: None)
    filled(pool, 1)
    pool.pin([key(1).text])
    assert not pool.reserve()
    pool.unpin([key(1).text])
    assert pool.reserve()


def test_a_pool_that_keeps_nothing_has_room_again():
    said = []
    pool = Pool(1, False, lambda *what: said.append(what))
    filled(pool, 1, 2, 3)
    assert (len(pool), said) == (0, [])


def test_keys_are_told_apart_by_everything():
    keys = {key(1).text, key(2).text, key(1, rank=1).text, Key("model", 1, 0, 1, "half").text,
            Key("other", 1, 0, 1, "float").text, Key("model", 2, 0, 1, "float").text,
            Key("model", 1, 0, 1, "float", (("x", "1"),)).text}  # fmt: skip
    assert len(keys) == 7


def test_a_shared_store_is_one_for_all(tmp_path):
    SharedStore("lm://store:65432", str(tmp_path)).put(key(1), array("Q", [1, 2]))
    assert SharedStore("lm://store:65432", str(tmp_path)).get(key(1).text) == array("Q", [1, 2])
    assert SharedStore("lm://other:65432", str(tmp_path)).contains([key(1).text]) == 0


# ---- registry


def me(instance, worker=0, peer="127.0.0.1:1"):
    return {"instance_id": instance, "worker_id": worker, "ip": "127.0.0.1", "port": 1, "peer_init_url": peer}


def admit(registry, instance, *numbers, worker=0):
    return registry.apply({"instance_id": instance, "worker_id": worker, "location": "LocalCPUBackend",
                           "operations": [("admit", number) for number in numbers]})  # fmt: skip


def test_lookup_leaves_out_the_asking_instance_and_credits_the_first_holder():
    registry = Registry()
    for name in ("a", "b", "c"):
        assert registry.register(me(name, peer=f"{name}:1"))
    admit(registry, "b", 1)
    admit(registry, "c", 1, 2, 3)
    assert registry.find([1, 2, 3], "a") == ("b", "LocalCPUBackend", 1, "b:1")
    assert registry.find([1, 2, 3], "b") == ("c", "LocalCPUBackend", 3, "c:1")
    assert registry.find([9], "a") == registry.find([], "a") == ("", "", 0, "")
    assert registry.layout([(256, 1), (512, 2), (768, 9)]) == {"b": ("LocalCPUBackend", 256),
                                                               "c": ("LocalCPUBackend", 512)}  # fmt: skip


def test_a_known_worker_keeps_its_address_and_loses_its_keys():
    registry = Registry()
    registry.register(me("a", peer="old:1"))
    admit(registry, "a", 1)
    assert not registry.register(me("a", peer="new:1"))
    assert registry.infos()[0]["peer_init_url"] == "old:1"
    assert registry.infos()[0]["key_count"] == 0
    assert not admit(registry, "unknown", 1)


def test_a_holder_without_p2p_is_no_holder():
    registry = Registry()
    registry.register(me("a", peer=None))
    admit(registry, "a", 1)
    assert registry.find([1], "b") == ("", "", 0, "")


# ---- wire


def test_a_client_may_come_first_and_outlive_its_server():
    async def echo(message, blob):
        return {"said": message["say"]}, blob[::-1]

    async def main():
        client, server = Client("127.0.0.1:47123"), Server(echo)
        asking = asyncio.create_task(client.ask({"say": 1}, b"abc"))
        await asyncio.sleep(0.05)
        await server.start("127.0.0.1", 47123)
        first = await asking
        await server.close()
        with pytest.raises(NoReply):
            await client.ask({"say": 2}, limit_s=0.2)
        server = Server(echo)
        await server.start("127.0.0.1", 47123)
        second = await client.ask({"say": 3})
        client.close()
        await server.close()
        return first, second

    first, second = asyncio.run(main())
    assert (first[0]["said"], first[1]) == (1, b"cba")
    assert second[0]["said"] == 3
