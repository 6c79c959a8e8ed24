"""A request that an engine could die of is never sent: which experiment a pair gets, or why it gets none."""

from __future__ import annotations

import pytest
from fake_engine import CHUNK, FakeCluster
from kvproof.probe import choice
from kvproof.probe.engine import EngineSettings
from kvproof.probe.options import Settings


def known(architecture: str | None, kv_role: str = "kv_both", connector: str | None = "a connector") -> dict:
    return {"architecture": architecture, "kv_role": kv_role, "connector": connector, "unsure": None}


def side(name: str, its: dict | None, url: str = "http://127.0.0.1:1") -> EngineSettings:
    return EngineSettings({"p": "holder", "d": "receiver"}[name], name, url, recognised=its)


MOONCAKE = known(None, connector="MooncakeConnector")


@pytest.mark.parametrize(
    ("holder", "receiver", "reason"),
    [
        (known("inprocess_p2p"), known("inprocess_p2p"), None),
        (None, None, None),
        (known(None, connector=None), known("inprocess_p2p"), None),
        (
            known("lmcache_pd", "kv_producer"),
            known("lmcache_pd", "kv_consumer"),
            "a sender dies of a completion whose receiver it is not told",
        ),
        (known("inprocess_p2p"), known("lmcache_pd", "kv_producer"), "d runs LMCache's prefill/decode transfer as"),
        (known("inprocess_p2p"), known("nixl_pd"), "p runs LMCache's in-process P2P, d runs vLLM's NixlConnector"),
        (known(None, connector="none"), known("nixl_pd"), "p has no connector, d runs vLLM's NixlConnector"),
        (known("mp"), known("mp"), None),
        (
            {**known("inprocess_p2p", "kv_producer"), "unsure": "why"},
            known("inprocess_p2p"),
            "p is a kv_producer, and why",
        ),
        (known(None, connector="none"), known(None, connector="none"), None),
        (MOONCAKE, MOONCAKE, "both run the connector MooncakeConnector, which"),
    ],
)
def test_a_pair_is_sent_prompts_only_where_they_are_made_for_both(holder, receiver, reason):
    seen = choice.withheld(side("p", holder), side("d", receiver), Settings("k0000"))
    assert seen is None if reason is None else reason in seen


@pytest.fixture
def cluster():
    its = FakeCluster()
    yield its
    its.close()


def probe(cluster: FakeCluster, holder: dict | None, receiver: dict | None) -> dict:
    sides = side("p", holder, cluster.prefill.url), side("d", receiver, cluster.decode.url)
    return choice.run(Settings("k0000", chunk_size=CHUNK, trials=1), *sides, None)


def completions(cluster: FakeCluster) -> int:
    return (cluster.prefill.paths() + cluster.decode.paths()).count("/v1/completions")


@pytest.mark.parametrize("plain", ["holder", "receiver"])
def test_a_pair_is_what_its_engine_with_a_connector_is(cluster, plain):
    sides = {role: known(None, connector="none") if role == plain else known("mp") for role in ("holder", "receiver")}
    document = probe(cluster, **sides)
    assert (document["architecture"], completions(cluster)) == ("mp", 0)
    assert "has no connector" in document["withheld"]


def test_engines_that_could_die_are_greeted_and_sent_nothing(cluster):
    document = probe(cluster, known("lmcache_pd", "kv_producer"), known("lmcache_pd", "kv_consumer"))
    assert "a sender dies of a completion" in document["withheld"]
    assert (document["trials"], document["warmup"], completions(cluster)) == ([], [], 0)
    assert document["engines"]["holder"]["model"] == "fake"
    assert document["architecture"] == "lmcache_pd"


@pytest.mark.parametrize(
    ("page", "version", "sent"),
    [
        ("lmcache:num_stored_tokens_total 0\n", "0.32.0", False),
        ("lmcache:num_stored_tokens_total 0\n", "0.29.1", True),  # its engines have no such series, whatever they are
        ('lmcache:x 0\nvllm:num_requests_kv_fetch_by_stage{stage="waiting"} 0\n', "0.32.0", True),
        ("vllm:num_requests_running 0\n", "0.32.0", False),  # neither fetches nor has LMCache's metrics
        ("vllm:num_requests_running 0\n", "0.29.0", True),
        ("vllm:nixl_xfer_time_seconds_count 0\n", "0.32.0", False),
        ("vllm:lmcache_mp_lookup_duration_seconds_count 0\n", "0.29.0", False),
    ],
)
def test_an_engine_that_nobody_looked_at_is_judged_by_its_metrics(cluster, page, version, sent):
    cluster.prefill.on["/metrics"] = lambda handler, _payload: handler.reply(200, page, "text/plain")
    cluster.prefill.on["/version"] = lambda handler, _payload: handler.reply(200, {"version": version})
    document = probe(cluster, None, None)
    assert (document["withheld"] is None) is sent
    assert bool(completions(cluster)) is sent
