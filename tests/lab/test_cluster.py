# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""A cluster of processes, by the very commands that the role kv_lab gives: left alone, broken further, taken down."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

pytest.importorskip("aiohttp", reason="the rehearsal's requirements are not installed (lab/rehearsal)")
pytest.importorskip("cbor2", reason="the rehearsal's requirements are not installed (lab/rehearsal)")

from lab.cluster import cluster, supervise
from lab.cluster.fault import FAULTS
from lab.cluster.slots import Slots

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def variables(tmp_path):
    """What the role tells; the cluster is down at the end."""
    with Slots().take() as slot:
        lab = slot.lab(tmp_path / "lab")
        yield {**json.loads(json.dumps(asdict(lab), default=str)), "fault": "", "faults_dir": str(FAULTS)}
        cluster.take_down(lab)


def run(action: str, variables: dict, code: int = 0) -> dict | str:
    """The command's answer, or its sentence where it fails."""
    command = [sys.executable, "-m", "lab.cluster", action]
    done = subprocess.run(command, input=json.dumps(variables), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stderr if code else json.loads(done.stdout)


def test_up_is_left_alone_broken_mended_and_taken_down(variables):
    folder = Path(variables["dir"])
    first = run("up", variables)
    assert first["started"] == ["controller-1", "prefill-1", "decode-1"]
    assert run("up", variables) == {"changed": False, "started": [], "stopped": [], "written": []}
    assert (folder / "run" / "processes.json").stat().st_mode & 0o777 == 0o600

    broken = {**variables, "fault": "controller-down"}
    assert run("show", broken)["after_start"] == "stop"
    assert run("up", broken)["changed"] is False
    assert run("break", broken) == {"changed": True, "done": "stop"}
    assert sorted(path.stem for path in (folder / "run").glob("*.pid")) == ["decode-1", "prefill-1"]

    spec = supervise.spec("stranger", ["/bin/sleep", "600"], folder / "run", folder / "logs", unit="other")
    supervise.up([spec], 60)
    mended = run("up", variables)
    assert (mended["started"], mended["stopped"]) == (["controller-1"], ["stranger"])

    down = run("down", variables)
    assert (down["changed"], down["stopped"]) == (True, ["controller-1", "decode-1", "prefill-1"])
    assert {path.name for path in folder.iterdir()} == {"logs", "rehearsal-model"}
    assert run("down", variables) == {"changed": False, "stopped": [], "removed": []}


def test_what_cannot_be_made_is_one_sentence(variables):
    assert "There is no fault nope. There are: " in run("show", {**variables, "fault": "nope"}, code=1)
    only = next(path.stem for path in FAULTS.glob("*.yml") if "\nonly: rehearsal" in path.read_text())
    said = run("up", {**variables, "fault": only, "engine": "vllm"}, code=1)
    assert said == f"{only} cannot be made with engine vllm: leave ENGINE=vllm out.\n"


def test_every_after_start_of_the_schema_can_be_done():
    schema = json.loads((FAULTS / "schema.json").read_text())
    assert set(schema["properties"]["after_start"]["enum"]) == set(cluster.AFTER_START)
