# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures of a pair follow what the rehearsal's engines were told to be.

Times are never shorter than injected, and far longer only where something is wrong; bench/fidelity.py compares them
precisely."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from kvproof.judge.verdict import judge

pytest.importorskip("aiohttp", reason="the rehearsal's requirements are not installed (lab/rehearsal)")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "faults"))

from gathering import evidence

from lab.cluster.cluster import Cluster
from lab.cluster.slots import Slots

PREFILL_S, DECODE_S, LATENCY_S, GB_S = 0.0005, 0.03, 0.6, 0.1
TOKEN_BYTES = 2 * 4 * 4 * 64 * 4  # k and v, layers, heads, size, float32: the lab's tiny model


@pytest.fixture(scope="module")
def verdict(tmp_path_factory):
    """A pair that is slow to transfer: not worth it for a short prompt, worth it for a long one."""
    names = {"PREFILL_TOKEN_S": PREFILL_S, "DECODE_TOKEN_S": DECODE_S, "TRANSFER_LATENCY_S": LATENCY_S}
    names["TRANSFER_GB_S"] = GB_S
    fault = {
        "all": {"env": {f"REHEARSAL_{name}": value for name, value in names.items()}},
        "validate": {"kv_reuse_trials": 1, "kv_reuse_lengths": [1024, 3072, 8192]},
    }
    with Slots().take() as slot, Cluster(slot.lab(tmp_path_factory.mktemp("cluster")), fault) as cluster:
        yield judge(evidence(cluster))


def test_it_passes_and_says_that_reuse_is_slower_here(verdict):
    assert verdict["verdict"] == "pass"
    assert [f["slug"] for f in verdict["findings"]] == ["not-faster"]


def test_ttft_and_time_between_tokens_follow_the_engine(verdict):
    speed, itl = verdict["performance"], verdict["timing"]["itl_s"]
    assert PREFILL_S * 1024 <= speed["recomputed_s"] < 2 * PREFILL_S * 1100
    assert LATENCY_S <= speed["reused_s"] < 2 * LATENCY_S
    assert DECODE_S * 0.9 <= itl["median"] < 2 * DECODE_S
    assert DECODE_S * 0.9 <= verdict["timing"]["tpot_s"]["median"] < 2 * DECODE_S


def test_transfer_time_and_bandwidth_follow_the_holder(verdict):
    moved, size = verdict["timing"]["moved"], 1024 * TOKEN_BYTES / 2**30
    seconds = LATENCY_S + size / GB_S
    assert seconds - 0.002 <= moved["transfer_s"]["median"] < 2 * seconds
    assert size / seconds / 2 < moved["transfer_gb_s"]["median"] <= size / (seconds - 0.002)
    assert moved["histogram"]["state"] in ("ok", "not flushed yet")


def test_the_break_even_lies_where_prefill_takes_as_long_as_the_transfer(verdict):
    timing = verdict["timing"]
    assert [one["skipped"] is None for one in timing["lengths"]] == [True, True, False]
    assert "max_model_len" in timing["lengths"][2]["skipped"]
    assert LATENCY_S / PREFILL_S * 0.8 < timing["break_even"]["tokens"] < 2 * LATENCY_S / PREFILL_S
