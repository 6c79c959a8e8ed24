# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""What tests/contract captures of a rehearsal cluster: as recorded of a real one, and no drift slips by."""

from __future__ import annotations

import copy
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("aiohttp", reason="the rehearsal's requirements are not installed (lab/rehearsal)")
pytest.importorskip("cbor2", reason="the rehearsal's requirements are not installed (lab/rehearsal)")

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "contract"))

import compare
import pages
import surfaces

QUICK = {"env": {"REHEARSAL_FLUSH_S": "0.1"}}
PLANS = [{"all": QUICK}, {"all": QUICK, "decode": {"arguments": ["--dtype", "float16"]}}]


@pytest.fixture(scope="module")
def captures():
    """Of a healthy cluster and of one whose decode node differs, as read back from files."""

    def one(plan):
        with compare.rehearsal_cluster(plan) as cluster:
            return json.loads(json.dumps(compare.capture(cluster, flush_s=1.0)))

    with ThreadPoolExecutor() as pool:
        return list(pool.map(one, PLANS))


@pytest.fixture
def drifted(captures):
    return copy.deepcopy(captures[0])


def test_a_cluster_does_not_drift_from_itself(captures):
    assert compare.drifts(captures[0], captures[0]) == []


def test_nothing_is_captured_empty(captures):
    story = captures[0]["story"]
    assert all(captures[0]["metrics"].values())
    assert all(story["events"].values())
    assert {"peer_asked", "retrieved", "stored"} <= {kind for _log, kind, _fields in story["events"]["reuse"]} | {
        kind for _log, kind, _fields in story["events"]["seed"]}  # fmt: skip
    assert story["startup"]
    assert story["origins"]


def test_a_node_that_reuses_nothing_shows(captures):
    assert [drift for drift in compare.drifts(*captures) if drift.startswith("log of reuse: ")]


def test_every_kind_of_drift_is_a_sentence(captures, drifted):
    drifted["answers"]["health"]["status"] = 204
    drifted["answers"]["no JSON"]["text"] = "no"
    del drifted["answers"]["ping"]
    drifted["story"]["events"]["cold"].reverse()
    drifted["story"]["startup"].pop()
    drifted["story"]["origins"]["stored"] = ["INFO elsewhere.py:1:put"]
    drifted["metrics"]["holder"] += "# HELP extra one\n# TYPE extra gauge\nextra 1\n"
    found = compare.drifts(captures[0], drifted)
    starts = ["health: status is 204, really 200", "no JSON: text is no, really ",
              "ping: was asked of one cluster only", "log of cold: ", "log at start: ",
              "log: stored comes from ['INFO elsewhere.py:1:put'], really from ",
              "holder: metrics: extra does not really exist"]  # fmt: skip
    for start in starts:
        assert [drift for drift in found if drift.startswith(start)], f"{start}: not in {found}"


def test_when_a_prompt_is_stored_is_no_drift_and_that_it_is_not_is_one(captures, drifted):
    """The store runs beside the lookup of the same prompt."""
    told = drifted["story"]["events"]["recompute"]
    stored = next(event for event in told if event[1] == "stored")
    told.remove(stored)
    assert [drift for drift in compare.drifts(captures[0], drifted) if drift.startswith("log of recompute: ")]
    told.append(stored)
    assert compare.drifts(captures[0], drifted) == []
    told.insert(0, told.pop())
    assert compare.drifts(captures[0], drifted) == []


def test_a_missing_capture_is_one_sentence(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["compare.py", str(tmp_path / "none.json")])
    assert compare.main() == 2
    assert capsys.readouterr().err.startswith("cannot compare: FileNotFoundError")


# ---- recordings of a real cluster


def recorded(path):
    return json.loads(path.read_text())


@pytest.mark.parametrize("server", ["scheduler", "worker"])
def test_the_internal_api_is_as_recorded(captures, recordings, server):
    file = {"scheduler": "internal_api.decode.scheduler.json", "worker": "internal_api.decode.worker0.json"}[server]
    for page, content in recorded(recordings / "healthy" / file).items():
        mine = captures[0]["answers"][f"/{page} of the {server}"]
        refused = isinstance(content, str) and content.startswith("HTTP ")
        assert mine["status"] == (int(content[5:8]) if refused else 200), page
        if page != "env":  # holds whatever the environment does
            assert mine["shape"] == surfaces.shape(json.loads(content[9:]) if refused else content), page


@pytest.mark.parametrize(("call", "file"), [
    ("workers", "controller.workers.json"),
    ("key stats", "controller.key-stats.json"),
    ("all workers", "controller.query_worker_info.decode.json"),
])  # fmt: skip
def test_the_controller_is_as_recorded(captures, recordings, call, file):
    assert captures[0]["answers"][call]["shape"] == surfaces.shape(recorded(recordings / "healthy" / file))


@pytest.mark.parametrize(("side", "name"), [("holder", "prefill"), ("receiver", "decode")])
def test_metrics_are_as_recorded(captures, recordings, side, name):
    def kept(text):
        """Recordings have no buckets, and no HELP where a page is the server's own."""
        return {(family, entry["type"], sample) for family, entry in pages.contents(text).items()
                for sample in entry["labels"] if not sample[0].endswith("_bucket")}  # fmt: skip

    real = kept((recordings / "healthy" / f"metrics.{name}.after12s.txt").read_text())
    assert kept(captures[0]["metrics"][side]) ^ real == set()
