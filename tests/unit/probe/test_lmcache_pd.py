# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""LMCache's prefill/decode transfer: what is sent to a sender and its receiver, and that nothing else ever is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fake_engine import CHUNK, FakeCluster, FakeEngine, digest
from kvproof.probe import choice, lmcache_pd
from kvproof.probe.engine import EngineSettings
from kvproof.probe.options import Settings
from kvproof.stack import disagg
from kvproof.stack.architectures import of_node
from pd_nodes import DOUBTS, NAMES, RECEIVER, SENDER, SPEC

FIELDS = {"req_id", *SPEC}


class Sender(FakeEngine):
    """Ends with what a real one ends with, or hangs by."""

    def lookup(self, payload, ids):
        spec = (payload.get("kv_transfer_params") or {}).get("disagg_spec") or {}
        if set(spec) != FIELDS or any(spec[field] != SPEC[field] for field in SPEC):
            self.cluster.killed.append(payload)
        self.cluster.pushed.add(digest(ids))
        return 0


class Receiver(FakeEngine):
    """Uses up what was pushed."""

    def lookup(self, payload, ids):
        params = payload.get("kv_transfer_params") or {}
        if "disagg_spec" in params:
            self.cluster.killed.append(payload)
        if params.get("lmcache.tag.kvproof") or digest(ids) not in self.cluster.pushed:
            return 0
        self.cluster.pushed.remove(digest(ids))
        return len(ids) - 1


@pytest.fixture
def cluster(monkeypatch):
    monkeypatch.setattr(lmcache_pd, "LEAST_WAIT_S", 0.0)
    its = FakeCluster()
    its.prefill.close(), its.decode.close()
    its.killed, its.pushed = [], set()
    its.prefill, its.decode = Sender("prefill", its), Receiver("decode", its)
    yield its
    its.close()


def probe(cluster, sender=SENDER, receiver=RECEIVER, **options) -> dict:
    known = disagg.known(sender, receiver, NAMES)
    settings = Settings("k0000", chunk_size=CHUNK, wait_s=0.0, disagg=known, **options)
    sides = [
        EngineSettings(role, name, engine.url, recognised=dict(zip(FIELDS_OF_ENGINE, of_node(node))))
        for role, name, engine, node in (
            ("holder", NAMES[0], cluster.prefill, sender),
            ("receiver", NAMES[1], cluster.decode, receiver),
        )
    ]
    return choice.run(settings, *sides, None)


FIELDS_OF_ENGINE = ("architecture", "kv_role", "connector", "unsure")


def sent(engine: FakeEngine) -> list[dict]:
    return [payload for path, payload, _headers in engine.requests if path == "/v1/completions"]


def test_a_healthy_pair_reuses_all_but_the_last_token_and_misses_the_controls(cluster):
    document = probe(cluster)
    assert (document["withheld"], document["architecture"], cluster.killed) == (None, "lmcache_pd", [])
    assert document["disagg_spec"] == SPEC
    for trial in document["trials"]:
        assert trial["reuse"]["cached_tokens"] == trial["prefix_tokens"] - 1
        assert (trial["knockout"]["cached_tokens"], trial["order"]) == (0, "reuse-first")
    assert len(document["trials"]) == 3
    assert document["never_seen"]["cached_tokens"] == document["recompute"]["cached_tokens"] == 0


def test_every_request_to_the_sender_names_its_receiver_and_an_id_of_its_own(cluster):
    probe(cluster, lengths=(64, 128))
    specs = [payload["kv_transfer_params"]["disagg_spec"] for payload in sent(cluster.prefill)]
    assert len(specs) == 4  # the warm-up and three seeds
    assert len({spec["req_id"] for spec in specs}) == 4
    assert all({field: spec[field] for field in SPEC} == SPEC for spec in specs)
    assert all(payload["max_tokens"] == 1 for payload in sent(cluster.prefill))
    assert not any("disagg_spec" in (payload.get("kv_transfer_params") or {}) for payload in sent(cluster.decode))


def test_what_a_receiver_gets_is_read_once_before_the_knockout(cluster):
    probe(cluster)
    assert cluster.pushed == set()
    plain = [tuple(payload["prompt"]) for payload in sent(cluster.decode) if "kv_transfer_params" not in payload]
    assert len(plain) == len(set(plain)) == 5  # warm-up, three reuses, the never-seen prompt


@pytest.mark.parametrize("case", list(DOUBTS))
def test_no_prompt_is_sent_where_anything_is_in_doubt(cluster, case):
    """Every degree of missing facts: a request that a real engine dies of is never sent."""
    sender, receiver, _kind, words = DOUBTS[case]
    document = probe(cluster, sender or {}, receiver or {})
    assert (sent(cluster.prefill), sent(cluster.decode), cluster.killed) == ([], [], [])
    assert document["withheld"], words


def test_without_any_look_a_sender_that_the_operator_names_gets_nothing(cluster):
    named = {"architecture": "lmcache_pd", "kv_role": None, "connector": None, "unsure": None}
    sides = [EngineSettings("holder", "p", cluster.prefill.url), EngineSettings("receiver", "d", cluster.decode.url)]
    sides = [replace(side, recognised=named) for side in sides]
    document = choice.run(Settings("k0000", chunk_size=CHUNK), *sides, None)
    assert (sent(cluster.prefill), sent(cluster.decode)) == ([], [])
    assert "no node showed one" in document["withheld"]


@pytest.mark.parametrize(
    ("trials", "shares", "chunks", "sent_any"), [(3, 1, 24, True), (3, 1, 23, False), (3, 2, 24, False)]
)
def test_prompts_take_half_of_a_buffer_at_most(cluster, trials, shares, chunks, sent_any):
    size = chunks * 2**20
    nodes = [
        {**node, "effective": {**node["effective"], "values": {**node["effective"]["values"], "pd_buffer_size": size}}}
        for node in (SENDER, RECEIVER)
    ]
    document = probe(cluster, *nodes, trials=trials, shares=shares)
    assert bool(sent(cluster.prefill)) is sent_any
    assert (document["withheld"] is None) is sent_any
    if sent_any:
        assert document["prompt"]["prefix_tokens"] < 3 * CHUNK


def test_a_sender_that_fails_gets_no_more(cluster):
    cluster.prefill.refuse = ()
    answers = iter([True, False])

    def complete(handler, payload):
        if next(answers, False):
            FakeEngine.complete(cluster.prefill, handler, payload)
        else:
            handler.reply(500, {"error": {"message": "EngineCore encountered an issue"}})

    cluster.prefill.on["/v1/completions"] = complete
    document = probe(cluster)
    assert len(sent(cluster.prefill)) == 2
    assert [trial["reuse"] for trial in document["trials"]] == [None]
