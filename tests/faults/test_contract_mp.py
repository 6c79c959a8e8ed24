# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""What tests/contract/mp.py captures of a rehearsal cluster in MP mode: as captured of a real one."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("aiohttp", reason="the rehearsal's requirements are not installed (lab/rehearsal)")
pytest.importorskip("cbor2", reason="the rehearsal's requirements are not installed (lab/rehearsal)")

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "contract"))

import mp

REAL = json.loads((TESTS / "fixtures" / "mp_contract.json").read_text())


@pytest.fixture(scope="module")
def rehearsed():
    return json.loads(json.dumps(mp.rehearsed()))


def test_the_rehearsal_is_as_captured_of_real_members(rehearsed):
    assert mp.drifts(REAL, rehearsed) == []


def test_every_kind_of_drift_is_a_sentence(rehearsed):
    drifted = copy.deepcopy(rehearsed)
    drifted["answers"]["/status"]["p2p_state"] = "number"
    drifted["metrics"]["decode"][0][1] = "gauges"
    drifted["origins"].append("INFO elsewhere.py:1")
    found = mp.drifts(rehearsed, drifted)
    for start in ("/status has the shape ", "decode: metrics: ", "log: INFO elsewhere.py:1 is not really there"):
        assert [drift for drift in found if drift.startswith(start)], f"{start}: not in {found}"


def test_what_a_real_server_follows_by_chance_is_no_drift():
    page = "# TYPE lmcache_mp_{0} gauge\nlmcache_mp_{0} 1.0\n"
    kept = mp.families(page.format("l1_chunk_reuse_gap_seconds") + page.format("l1_write_chunks"))
    assert [family[0] for family in kept] == ["lmcache_mp_l1_write_chunks"]
