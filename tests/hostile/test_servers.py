# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A pair is probed and judged while one of its servers misbehaves: in time, in little memory, and never as a proof."""

from __future__ import annotations

import json

import bounded
import pytest
import verdicts
from experiments import internal_api, run
from fake_engine import FakeCluster
from kvproof.evidence.assemble import pair_evidence
from kvproof.judge.verdict import judge
from kvproof.report import views
from kvproof.report.timeline import timed

from lab.hostile.answers import ANSWERS

DEADLINE_S, GRACE_S, MEGABYTES = 4.0, 10.0, 500
#: Names of answers that need their time, or the machine's memory; make hostile has them.
SLOW = ("silence", "end", "drip", "million", "without", "megabyte", "10 MB", "hundred thousand", "nothing")
#: The paths whose servers say nothing that a proof stands on: a pair may pass whatever they answer.
BESIDE = ("/controller/workers", "/conf", "/meta", "/metrics", "/tokenize")
CASES = [
    pytest.param(
        path, name, id=f"{path} {name}", marks=[pytest.mark.hostile] if any(word in name for word in SLOW) else []
    )
    for path, answers in ANSWERS.items()
    for name in answers
]
#: Findings that these answers have to lead to.
FINDINGS = {
    ("/conf", "chunk_size is 1e9"): "prompt-shorter-than-chunk",
    ("/conf", "min_retrieve_tokens is 1e9"): "prompt-does-not-fit",
    ("/v1/completions", "an HTML page"): "engine-errors",
    ("/v1/completions", "deep JSON"): "engine-errors",
    ("/v1/completions", "a stream that is cut"): "engine-errors",
    ("/v1/completions", "a deep event"): "engine-errors",
    ("/v1/models", "deep JSON"): "engine-errors",
}


@pytest.fixture
def cluster():
    found = FakeCluster()
    yield found
    for server in (found.prefill, found.decode, found.controller):
        server.close()


def _hostile(pieces):
    def answer(handler, _payload):
        handler.close_connection = True
        for piece in pieces():
            handler.wfile.write(piece)

    return answer


def _probe_and_judge(cluster, options) -> dict:
    probe = run(cluster, {"deadline_s": DEADLINE_S, "trials": 1, "extra_attempts": 0}, **options)
    pair = {"cluster": "demo", "holder": "p1", "receiver": "d1"}
    evidence = pair_evidence(pair, "inventory", {**probe, "cluster": "demo"}, {"holder": {}, "receiver": {}}, [])
    evidence = json.loads(json.dumps(evidence, allow_nan=False))
    verdict = timed(judge(evidence), evidence)
    doc = verdicts.document(verdict)
    troubles = [trouble for _name, _text, trouble in views.files(doc, [*views.FORMATS]) if trouble]
    return {"verdict": verdict, "troubles": troubles, "bytes": len(json.dumps(doc))}


@pytest.mark.parametrize(("path", "name"), CASES)
def test_a_server_that_misbehaves(cluster, path, name):
    options = {}
    if path in ("/conf", "/meta"):
        internal = internal_api()
        internal.on[path] = _hostile(ANSWERS[path][name])
        options = {"receiver": {"internal_api_url": internal.url}}
    elif path == "/controller/workers":
        cluster.controller.on[path] = _hostile(ANSWERS[path][name])
    else:
        cluster.decode.on[path] = _hostile(ANSWERS[path][name])
    measured = bounded.run(lambda: _probe_and_judge(cluster, options), DEADLINE_S + GRACE_S)
    assert measured.error is None
    assert measured.megabytes < MEGABYTES
    judged = measured.value
    verdict, slugs = judged["verdict"], [finding["slug"] for finding in judged["verdict"]["findings"]]
    assert judged["troubles"] == []
    assert judged["bytes"] < 200_000
    assert [error for error in verdict["check_errors"] if "expected" not in error] == []
    assert verdict["verdict"] != "pass" or path in BESIDE or slugs == []
    if verdict["verdict"] != "pass":
        assert slugs
    wanted = FINDINGS.get((path, name))
    assert wanted is None or wanted in slugs, slugs


def test_there_are_enough_of_them():
    assert len(CASES) > 200
