# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a sender of LMCache's prefill/decode transfer is told, and that anything in doubt keeps it from being used."""

from __future__ import annotations

import pytest
from kvproof.stack import disagg
from pd_nodes import DOUBTS, NAMES, RECEIVER, SENDER, SPEC, changed, node


def known(sender: dict | None = SENDER, receiver: dict | None = RECEIVER) -> disagg.Known:
    return disagg.known(sender, receiver, NAMES)


def test_a_pair_without_doubt_has_its_receivers_own_ports():
    assert known() == (SPEC, None, 256)


@pytest.mark.parametrize("mode", ["sync", None])
def test_the_synchronous_backend_is_told_the_same(mode):
    assert known(sender=node("sender", pd_backend_mode=mode)) == (SPEC, None, 256)


@pytest.mark.parametrize("case", list(DOUBTS))
def test_anything_in_doubt_withholds_the_pair(case):
    sender, receiver, kind, words = DOUBTS[case]
    first = disagg.doubts(sender, receiver, NAMES)[0]
    seen = known(sender, receiver)
    assert (first.kind, words in seen.withheld) == (kind, True), seen


def test_one_machine_may_have_both_engines():
    same = {"hostname": "gpu-1", "addresses": ["127.0.0.1", "10.0.0.18"]}
    assert known(changed(SENDER, **same), changed(RECEIVER, **same)).withheld is None


@pytest.mark.parametrize(
    ("value", "ports"),
    [
        (7300, [7300]),
        ([7300, 7301], [7300, 7301]),
        ("7300,7301", [7300, 7301]),
        ("[7300]", [7300]),
        (None, []),
        (0, []),
    ],
)
def test_ports_are_read_as_lmcache_writes_them(value, ports):
    assert disagg.ports_of(value) == ports


def test_what_a_sender_has_to_reach():
    assert [target["to"] for target in disagg.targets_of(SPEC)] == ["10.0.0.18:7300", "10.0.0.18:7400"]
    assert disagg.targets_of(None) == []
