# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prompts through a cluster's router: when they are sent, which ones, and what is kept of who served them."""

from __future__ import annotations

import copy
import itertools

import pytest
import requests
from fake_engine import CHUNK, FakeCluster, FakeEngine, Server
from kvproof.evidence import document as evidence
from kvproof.evidence.shapes import Errors, shape_of
from kvproof.plan.topology import beyond
from kvproof.probe import options, rounds, router
from kvproof.probe.sizing import bounds

GAUGES = "vllm:num_requests_running 0\nvllm:num_requests_waiting 0\n"
BEGIN = "vllm:prompt_tokens_total"


class Counting(FakeEngine):
    """Tells whether it is idle, and what it computed."""

    def metrics(self, handler, _payload):
        computed, mine = self.prompt_tokens - self.hits, 'vllm:prompt_tokens_by_source_total{source="'
        handler.reply(
            200,
            f"vllm:request_success_total {self.served}\n{BEGIN} {self.prompt_tokens}\n{GAUGES}"
            f'{mine}local_compute"}} {computed}\n{mine}external_kv_transfer"}} {self.hits}\n'
            'vllm:num_requests_kv_fetch_by_stage{stage="waiting"} 0\n',
            "text/plain",
        )


class InTurns(Server):
    """A plain router, to which prompts may be refused as token ids."""

    def __init__(self, *engines: FakeEngine):
        super().__init__()
        self.turn, self.text_alone = itertools.cycle(engines), False
        self.on["/v1/completions"] = self.relay

    def relay(self, handler, payload):
        if self.text_alone and not isinstance(payload["prompt"], str):
            handler.reply(422, {"error": {"message": "prompt: a string is expected"}})
            return
        kept = {"X-Request-Id": handler.headers["X-Request-Id"]}
        answer = requests.post(f"{next(self.turn).url}/v1/completions", json=payload, headers=kept, timeout=10)
        handler.reply(answer.status_code, answer.content, answer.headers["Content-Type"])


@pytest.fixture
def cluster():
    its = FakeCluster()
    its.prefill.close(), its.decode.close()
    its.prefill, its.decode = Counting("prefill", its), Counting("decode", its)
    its.router = InTurns(its.prefill, its.decode)
    yield its
    its.router.close()
    its.close()


def params(cluster, **changes) -> dict:
    """A pair's parameters as the module's argument spec leaves them."""
    given = {
        name: copy.deepcopy(spec.get("default")) for name, spec in options.argument_spec().items() if name != "ssh"
    }
    sides = {
        role: {
            **{name: spec.get("default") for name, spec in options.argument_spec()[role]["options"].items()},
            "name": name,
            "url": engine.url,
        }
        for role, name, engine in (("holder", "p1", cluster.prefill), ("receiver", "d1", cluster.decode))
    }
    usual = {"chunk_size": CHUNK, "trials": 1, "wait": 0.2, "router_url": cluster.router.url}
    return {**given, **sides, **usual, **changes}


def routed(cluster, *asked: dict) -> list[dict]:
    """PROBE of each pair of a cluster."""
    questions = [[{"pair": {}, "params": one, "problem": None}] for one in asked or [params(cluster)]]
    return [answer["probe"] for answer in rounds.probe_rounds(questions)]


def completions(server: Server) -> list[dict]:
    return [payload for path, payload, _headers in server.requests if path == "/v1/completions"]


def test_who_served_each_prompt_is_kept_and_the_experiment_has_none_of_it(cluster):
    (probe,) = routed(cluster)
    document = probe["router"]
    assert (document["url"], document["withheld"]) == (cluster.router.url, None)
    assert [(list(one["engines"]), one["still"]) for one in document["requests"]] == [
        (["p1"], 1), (["d1"], 1), (["p1"], 1), (["d1"], 1)
    ]  # fmt: skip
    assert [one["again"] for one in document["requests"]] == [False, False, False, True]
    for one in document["requests"]:
        ((window, unfinished),) = [(its["window"], its["unfinished"]) for its in one["engines"].values()]
        assert (one["request"]["error"], one["request"]["role"], one["request"]["engine"]) == (None, "routed", "router")
        assert window[BEGIN] == one["rendered"] == one["request"]["prompt_tokens"]
        assert unfinished == 0
    again = document["requests"][3]["engines"]["d1"]["window"]
    assert again["vllm:prompt_tokens_by_source_total{source=external_kv_transfer}"] == probe["prompt"]["expected_hit"]
    assert "routed" not in {request["role"] for request in probe["warmup"]}
    assert len(probe["trials"]) == 1
    errors = Errors(strict=True)
    shape_of(evidence.Router).read(document, None, errors)
    assert errors == []


def test_prompts_are_plain_few_fresh_and_come_last(cluster):
    order = []
    for name, server in (("engine", cluster.prefill), ("engine", cluster.decode), ("router", cluster.router)):
        serve = server.on["/v1/completions"]
        server.on["/v1/completions"] = lambda h, p, serve=serve, name=name: (order.append(name), serve(h, p))
    routed(cluster)
    first = order.index("router")
    assert order[first:] == ["router", "engine"] * 4
    sent = completions(cluster.router)
    assert {frozenset(payload) for payload in sent} == {
        frozenset(("model", "prompt", "max_tokens", "temperature", "stream", "stream_options"))
    }
    heads = [tuple(payload["prompt"][:CHUNK]) for payload in sent]
    assert len(set(heads[:3])) == 3
    assert heads[3] == heads[0]


def test_it_is_asked_with_the_receivers_key_and_header_fields(cluster):
    asked = params(cluster)
    asked["receiver"].update(api_key="sk-receiver", headers={"X-Tenant": "t"})
    asked["holder"]["api_key"] = "sk-holder"
    routed(cluster, asked)
    _path, _payload, headers = next(one for one in cluster.router.requests if one[0] == "/v1/completions")
    assert (headers["Authorization"], headers["X-Tenant"]) == ("Bearer sk-receiver", "t")


def test_a_router_that_refuses_token_ids_gets_text_and_what_it_has_is_counted(cluster):
    cluster.router.text_alone = True
    (probe,) = routed(cluster)
    assert [isinstance(payload["prompt"], str) for payload in completions(cluster.router)] == [False] + [True] * 4
    for one in probe["router"]["requests"]:
        assert one["request"]["error"] is None
        assert one["rendered"] == one["request"]["prompt_tokens"] + 1  # fake engines count no special token
        assert one["rendered"] <= probe["prompt"]["tokens"] + CHUNK


def test_after_a_router_that_is_gone_nothing_more_is_sent(cluster):
    cluster.router.close()
    (probe,) = routed(cluster)
    (one,) = probe["router"]["requests"]
    assert one["request"]["error"]["kind"] == "connect"


def test_a_router_that_hangs_holds_nobody(cluster, monkeypatch):
    monkeypatch.setattr(router, "REQUEST_S", 0.5)
    cluster.router.on["/v1/completions"] = lambda handler, _payload: handler.connection.recv(1)
    (probe,) = routed(cluster)
    (one,) = probe["router"]["requests"]
    assert one["request"]["error"]["kind"] == "timeout"


def test_a_pair_alone_has_it_as_well(cluster):
    probe = rounds.probe(params(cluster))
    assert len(probe["router"]["requests"]) == 4
    assert rounds.probe(params(cluster, router_url=None))["router"] is None
    assert rounds.probe(params(cluster), check_mode=True)["router"] is None


def test_all_pairs_of_a_cluster_have_the_same(cluster):
    other = params(cluster)
    other["holder"], other["receiver"] = other["receiver"], other["holder"]
    first, second = routed(cluster, params(cluster), other)
    assert first["router"] == second["router"]
    assert len(completions(cluster.router)) == 4


def test_its_prompts_count_against_the_bound_on_probe_kv(cluster):
    found = [
        bounds(options.settings({**params(cluster), "router_url": None}), [], 8)[0].prompts,
        bounds(rounds.settings_of(params(cluster)), [], 8)[0].prompts,
    ]
    assert found[1] - found[0] == router.MOST_STORED


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"architecture": "lmcache_pd", "withheld": "no spec"}, "a router that does not disaggregate sends a plain"),
        ({"withheld": "decode-1 runs the connector X"}, "no prompt may be sent to p1 → d1: decode-1 runs"),
        ({"trials": []}, "the experiment of p1 → d1 got no answer"),
        ({"trials": [{"reuse": {"error": {"kind": "timeout"}}}]}, "the experiment of p1 → d1 got no answer"),
    ],
)
def test_what_engines_could_die_of_is_not_sent_through_a_router(change, why):
    probe = {
        "architecture": "inprocess_p2p",
        "withheld": None,
        "engines": {"holder": {"name": "p1"}, "receiver": {"name": "d1"}},
        "trials": [{"reuse": {"error": None}}],
    }
    assert router.withheld([probe], []) is None
    assert router.withheld([probe, {**probe, **change}], []).startswith(why)
    assert router.withheld([probe, None], []) == "a pair of this cluster could not be probed"
    assert router.withheld([probe], ["d2"]).startswith("d2 may be chosen by it")


def test_nothing_goes_through_where_an_engine_of_the_cluster_takes_no_part(cluster):
    (probe,) = routed(cluster, params(cluster, beyond=["d2"]))
    assert probe["router"] == {
        "url": cluster.router.url,
        "withheld": router.withheld([probe], ["d2"]),
        "engines": None,
        "requests": [],
    }
    assert completions(cluster.router) == []


def test_a_url_that_is_none_is_told_before_anything_is_sent(cluster):
    with pytest.raises(ValueError, match="router_url 'router:8080' does not begin with http"):
        rounds.probe(params(cluster, router_url="router:8080"))
    assert completions(cluster.prefill) == []


def test_what_goes_wrong_there_loses_nothing_that_was_seen_of_the_pairs(cluster, monkeypatch):
    monkeypatch.setattr(router.RouterProbe, "run", lambda self: 1 // 0)
    (probe,) = routed(cluster)
    assert len(probe["trials"]) == 1
    assert probe["router"]["withheld"].startswith("what is sent through the router broke off with ZeroDivisionError")


def test_engines_that_no_pair_has():
    hosts = [
        {"name": name, "cluster": where, "roles": roles, "in_play": True}
        for name, where, roles in (
            ("p1", "a", ["prefill"]),
            ("d1", "a", ["decode"]),
            ("d2", "a", ["decode"]),
            ("c1", "a", ["controller"]),
            ("d3", "b", ["prefill", "decode"]),
        )
    ]
    pairs = [{"cluster": "a", "holder": "p1", "receiver": "d1", "shares": 1}]
    assert beyond(hosts, pairs) == {"a": ["d2"], "b": ["d3"]}
