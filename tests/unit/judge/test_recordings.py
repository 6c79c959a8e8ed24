"""Recordings of real clusters, judged offline: the verdict of their meta.json, and first the finding that names the
cause.  Three of them stand in fixtures/evidence as documents, so that something real is always judged.
"""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import recordings as recording
from kvproof.evidence import document as evidence
from kvproof.judge.verdict import judge

ROOT = Path(__file__).resolve().parents[3]
FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "evidence"
RECORDINGS = recording.RECORDINGS
FOLDERS = sorted(path.parent for path in RECORDINGS.glob("*/meta.json"))

# Cause in meta.json → the finding it should lead to, as the recordings' README has it.
FIRST = {
    "none": None,
    "p2p-disabled-decode": "p2p-disabled",
    "mp-p2p-disabled-prefill": "p2p-disabled",
    "async-loading-off": "async-loading-off",
    "chunk-size-mismatch": "chunk-size-differs",
    "hash-seed-mismatch": "hash-seed-differs",
    "controller-down": "controller-down",
    "local-cpu-off-prefill": "local-cpu-off",
    "p2p-host-unreachable": "p2p-port-unreachable",
    "model-name-mismatch": "model-path-differs",
    "lmcache-init-failed": "lmcache-degraded",
    "pd-and-p2p-both-on": "pd-excludes-p2p",
    "kv-corruption": "output-differs",
    "local-lmcache-hit": "reused-locally-not-p2p",
    "local-prefix-cache-hit": "prefix-cache-masks",
    "prompt-shorter-than-chunk": "prompt-shorter-than-chunk",
    "lookup-stall": "lookup-timed-out",
}
SCHEMA = jsonschema.Draft202012Validator(evidence.schema())


def decisive(verdict: dict) -> list[str]:
    return [f["slug"] for f in verdict["findings"] if f["role"] in ("failure", "cause", "validity")]


def expect(verdict: dict, meta: dict) -> None:
    first = FIRST[meta["root_cause"]]
    assert verdict["verdict"] == meta["expected_verdict"]
    assert set(decisive(verdict)) == ({first} if first else set()), "one cause was made, so one is to be named"
    assert verdict["check_errors"] == []


@pytest.mark.skipif(not FOLDERS, reason=f"no recordings at {RECORDINGS}; set KVPROOF_RECORDINGS")
def test_recordings_are_there():
    assert len(FOLDERS) >= 22


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_recording_is_judged_as_it_was(folder):
    document = recording.evidence(folder)
    assert [error.message for error in SCHEMA.iter_errors(document)] == []
    verdict = judge(document)
    expect(verdict, json.loads((folder / "meta.json").read_text()))
    if folder.name == "no_multiproc_dir":
        assert "metrics-missing" in [f["slug"] for f in verdict["findings"]]


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.json")), ids=lambda path: path.stem)
def test_a_recorded_document_is_judged_as_it_was(path):
    fixture = json.loads(path.read_text())
    assert [error.message for error in SCHEMA.iter_errors(fixture["evidence"])] == []
    expect(judge(fixture["evidence"]), fixture["meta"])


def test_three_recorded_documents_stand_in_the_tree():
    assert {path.stem for path in FIXTURES.glob("*.json")} == {"healthy", "corrupt_zero_k", "hashseed_differs"}


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.json")), ids=lambda path: path.stem)
def test_a_recorded_document_is_what_the_recording_gives(path):
    folder = RECORDINGS / path.stem
    if not folder.is_dir():
        pytest.skip(f"no recordings at {RECORDINGS}; set KVPROOF_RECORDINGS")
    meta = json.loads((folder / "meta.json").read_text())
    fixture = recording.fixture(folder)
    assert fixture["meta"] == {name: meta[name] for name in ("expected_verdict", "root_cause")}
    assert fixture == json.loads(path.read_text()), "make it again: python tests/support/recordings.py"
