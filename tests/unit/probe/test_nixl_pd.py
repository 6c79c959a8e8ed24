# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""vLLM's NixlConnector: what a prefill and a decode engine are sent, and what never is."""

from __future__ import annotations

import pytest
from fake_engine import CHUNK, FakeCluster, FakeEngine, digest
from kvproof.probe import choice, nixl_pd
from kvproof.probe.engine import EngineSettings
from kvproof.probe.options import Settings

KNOWN = {"architecture": "nixl_pd", "connector": "NixlConnector", "unsure": None}
OFFER = {
    "do_remote_prefill": True,
    "do_remote_decode": False,
    "remote_engine_id": "one",
    "remote_host": "127.0.0.13",
    "remote_port": 5600,
    "later_field": {"kept": "as it is"},
}


class Prefill(FakeEngine):
    """Keeps the blocks of a prompt that it is asked to keep, and answers where they are."""

    offer = OFFER

    def complete(self, handler, payload):
        ids = payload["prompt"]
        self.served, self.prompt_tokens = self.served + 1, self.prompt_tokens + len(ids)
        name = digest(ids)
        self.cluster.kept.add(name)
        answer = {
            "id": "cmpl-" + name[:8],
            "choices": [{"text": "a", "finish_reason": "length"}],
            "usage": {"prompt_tokens": len(ids), "completion_tokens": 1},
        }
        if (payload.get("kv_transfer_params") or {}).get("do_remote_decode") and self.offer:
            offer = {**self.offer, "remote_request_id": name, "remote_block_ids": [[1, 2]]}
            answer["kv_transfer_params"] = {key: value for key, value in offer.items() if value is not None}
        handler.reply(200, answer)


class Decode(FakeEngine):
    """Reads a prompt's blocks once."""

    def lookup(self, payload, ids):
        params = payload.get("kv_transfer_params") or {}
        if params.get("remote_request_id") != digest(ids):
            return 0
        self.cluster.kept.remove(digest(ids))  # a second time another prompt's blocks would be read
        return len(ids)


@pytest.fixture
def cluster():
    its = FakeCluster()
    its.prefill.close(), its.decode.close()
    its.kept = set()
    its.prefill, its.decode = Prefill("prefill", its), Decode("decode", its)
    yield its
    its.close()


def probe(cluster, **options) -> dict:
    sides = [
        EngineSettings(role, name, engine.url, recognised={**KNOWN, "kv_role": kind})
        for role, name, engine, kind in (
            ("holder", "p", cluster.prefill, "kv_producer"),
            ("receiver", "d", cluster.decode, "kv_consumer"),
        )
    ]
    return choice.run(Settings("k0000", chunk_size=CHUNK, wait_s=0.0, **options), *sides, None)


def sent(engine: FakeEngine) -> list[dict]:
    return [payload for path, payload, _headers in engine.requests if path == "/v1/completions"]


def test_each_offer_goes_on_unchanged_and_once_with_its_own_prompt(cluster):
    document = probe(cluster)
    assert (document["withheld"], document["architecture"]) == (None, "nixl_pd")
    seeds = {digest(payload["prompt"]): payload for payload in sent(cluster.prefill)}
    assert all((p["max_tokens"], p["kv_transfer_params"]) == (1, nixl_pd.KEEP) for p in seeds.values())
    told = [payload for payload in sent(cluster.decode) if "kv_transfer_params" in payload]
    assert len(told) == len(seeds) == 4  # the warm-up and three trials
    for payload in told:
        name = digest(payload["prompt"])
        assert payload["kv_transfer_params"] == {**OFFER, "remote_request_id": name, "remote_block_ids": [[1, 2]]}
    assert cluster.kept == set()


def test_controls_get_no_offer_and_have_windows(cluster):
    document = probe(cluster)
    plain = [payload for payload in sent(cluster.decode) if "kv_transfer_params" not in payload]
    assert len(plain) == 5  # three knock-outs, the never-seen prompt and the second recompute
    for trial in document["trials"]:
        assert trial["knockout_how"] == "plain"
        assert trial["window"]["receiver"]["vllm:prompt_tokens_total"] == trial["reuse"]["prompt_tokens"]
        assert trial["window"]["knockout"]["vllm:prompt_tokens_total"] == trial["knockout"]["prompt_tokens"]
    assert set(document["window"]) == {"never_seen", "recompute"}


@pytest.mark.parametrize("lost", [*sorted(OFFER.keys() - {"do_remote_decode", "later_field"}), None])
def test_half_an_offer_is_never_sent(cluster, lost):
    """A decode engine parks such a request for good."""
    cluster.prefill.offer = {**OFFER, lost: None} if lost else None
    document = probe(cluster)
    assert sent(cluster.decode) == []
    assert [trial["reuse"] for trial in document["trials"]] == [None] * 3
    assert document["never_seen"] is None


def test_an_old_offer_is_not_used(cluster, monkeypatch):
    monkeypatch.setattr(nixl_pd, "FRESH_S", -1.0)
    document = probe(cluster)
    assert [trial["reuse"] for trial in document["trials"]] == [None] * 3
    assert [error["kind"] for error in document["errors"] if error["where"] == "receiver.reuse"] == ["deadline"] * 3


def test_a_decode_engine_that_fails_is_asked_for_no_knockout(cluster):
    def fails(handler, payload):
        if "kv_transfer_params" in payload:
            handler.reply(500, {"error": {"message": "KV load failure"}})
        else:
            FakeEngine.complete(cluster.decode, handler, payload)

    cluster.decode.on["/v1/completions"] = fails
    document = probe(cluster)
    assert [trial["knockout"] for trial in document["trials"]] == [None] * 2  # two in a row end the experiment
    assert document["trials"][0]["reuse"]["error"]["status"] == 500
