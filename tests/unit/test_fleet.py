# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""validate.yml over several clusters at once, one of them broken and one given wrong options, over real SSH."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import sshd
import yaml

pytest.importorskip("aiohttp", reason="the rehearsal's requirements are not installed (lab/rehearsal)")
if not sshd.TOOLS:
    pytest.skip("no sshd, ssh and ssh-keygen here", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "lab"))

import fleet

PLAYBOOK = Path(sys.executable).parent / "ansible-playbook"
pytestmark = pytest.mark.skipif(not PLAYBOOK.exists(), reason="ansible is not installed beside this Python")
BROKEN, ODD, CLUSTERS = 1, 2, 4


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    with fleet.Fleet(tmp_path_factory.mktemp("fleet"), CLUSTERS, {BROKEN: "p2p-disabled"}) as running:
        yield running


def validate(up: fleet.Fleet, folder: Path, *options: str) -> tuple[dict, subprocess.CompletedProcess]:
    hosts = yaml.safe_load(up.inventory.read_text(encoding="utf-8"))
    hosts["kv_decode"]["hosts"][fleet.name(ODD, "decode")]["kv_reuse_ca_cert"] = "/nowhere/ca.pem"
    inventory = folder / "hosts.yml"
    inventory.write_text(yaml.safe_dump(hosts), encoding="utf-8")
    done = subprocess.run(
        [PLAYBOOK, "-i", inventory, "validate.yml", "-e", f"kv_reuse_reports_dir={folder / 'reports'}", *options],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        check=False,
        capture_output=True,
        text=True,
    )
    return json.loads((folder / "reports" / "verdict.json").read_text(encoding="utf-8")), done


def test_every_cluster_gets_its_own_verdict(up, tmp_path):
    doc, done = validate(up, tmp_path)
    assert done.returncode == 2, done.stdout
    seen = {one["name"]: one for one in doc["clusters"]}
    verdicts = {name: [pair["verdict"] for pair in one["pairs"]] for name, one in seen.items()}
    assert verdicts == {"c000": ["pass"], "c001": ["fail"], "c002": [], "c003": ["pass"]}
    assert seen["c001"]["pairs"][0]["findings"][0]["slug"] == "p2p-disabled"
    (lost,) = seen["c002"]["not_judged"]
    assert lost["reason"] == ("receiver.ca_cert /nowhere/ca.pem is no file on this machine: give the CA's PEM file")
    assert "c002-prefill → c002-decode not judged" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_limit_judges_what_it_touched_and_says_so(up, tmp_path):
    doc, done = validate(up, tmp_path, "--limit", "c000*,c003-prefill")
    assert done.returncode == 0, done.stdout
    assert [one["name"] for one in doc["clusters"]] == ["c000"]
    left = {one["cluster"]: one["reason"] for one in doc["not_probed"]}
    assert left["c003"] == "c003-decode not in this run (--limit)"
    assert "only 3 of 8 engines are in this run (--limit); it judges no others" in doc["notes"]


def test_all_faults_that_a_fleet_can_be_given_are_known():
    slugs = fleet.plantable()
    assert {"p2p-disabled", "hash-seed-differs", "kv-zeroed"} <= set(slugs)
    assert "controller-down" not in slugs  # nothing but settings: nobody stops a process here
    assert fleet.spread(["a", "b"], 10) == {0: "a", 5: "b"}
