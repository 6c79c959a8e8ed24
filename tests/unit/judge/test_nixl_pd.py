# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""vLLM's NixlConnector: what counters prove, and what they do not."""

from __future__ import annotations

import pytest
from documents import PROMPT
from kvproof.judge.dialects.nixl_pd import COMPUTED, FAILED, FROM_PEER, READS
from kvproof.judge.verdict import judge
from nixl_documents import PROMPTS, nixl_pair, rises


def windows(document: dict, **changes) -> dict:
    for trial in document["probe"]["trials"]:
        trial["window"]["receiver"].update(changes.get("receiver", {}))
        trial["window"]["knockout"].update(changes.get("knockout", {}))
    return document


def told(document: dict) -> tuple[str, list[str]]:
    verdict = judge(document)
    return verdict["verdict"], [f["slug"] for f in verdict["findings"] if f["role"] != "note"]


def test_a_healthy_pair():
    verdict = judge(nixl_pair())
    assert (verdict["verdict"], verdict["findings"], verdict["check_errors"]) == ("pass", [], [])
    states = {link["link"]: link["state"] for link in verdict["links"]}
    assert {number: states[number] for number in (3, 6, 7, 8, 10, 11, 12)} == dict.fromkeys(
        (3, 6, 7, 8, 10, 11, 12), "holds"
    )
    assert (states[5], states[9]) == ("not needed", "not needed")
    transferred = next(link["text"] for link in verdict["links"] if link["link"] == 10)
    assert transferred.startswith(f"{PROMPT} tokens by external_kv_transfer")


@pytest.mark.parametrize(
    "change",
    [
        {PROMPTS: PROMPT + 9.0},  # another request was served in the window
        {FROM_PEER: PROMPT - 200.0, COMPUTED: 200.0},  # a part of it
        {COMPUTED: float(PROMPT)},  # all of it was computed as well
    ],
    ids=["not alone", "in part", "computed too"],
)
def test_no_proof_and_no_failure(change):
    assert told(windows(nixl_pair(), receiver=change))[0] == "inconclusive"


def test_tokens_that_nobody_is_seen_to_have_moved_prove_nothing():
    document = nixl_pair()
    document["probe"]["engines"]["receiver"]["metrics"]["after"]["values"][READS] = 0.0
    assert told(document)[0] == "inconclusive"


def test_an_engine_without_these_series_proves_nothing_and_fails_nothing():
    document = nixl_pair()
    for trial in document["probe"]["trials"]:
        for role in trial["window"]:
            trial["window"][role] = {PROMPTS: float(PROMPT)}
    assert told(document)[0] == "inconclusive"


def test_an_engine_that_reads_from_itself_proves_nothing():
    document = nixl_pair()
    sent = 2 + 3 * len(document["probe"]["trials"])  # the controls, and each trial's seed, reuse and knock-out
    for engine in document["probe"]["engines"].values():
        engine["metrics"]["before"]["values"][PROMPTS] = 10.0
        engine["metrics"]["after"]["values"][PROMPTS] = 10.0 + sent * PROMPT
    assert told(document) == ("inconclusive", ["same-engine-answers"])


def test_a_read_that_failed_brought_nothing_whatever_was_looked_up():
    document = windows(nixl_pair(), receiver={**rises(PROMPT, read=1), FAILED: 1.0})
    assert told(document) == ("fail", ["nixl-transfer-failed"])


def test_a_control_that_hit_makes_it_invalid():
    assert told(windows(nixl_pair(), knockout=rises(PROMPT, read=1)))[1][0] == "control-hit"
    document = nixl_pair()
    document["probe"]["window"]["never_seen"] = rises(PROMPT, read=1)
    assert told(document)[1][0] == "control-hit"
