# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""validate.yml over several clusters at once, one of them broken and one given wrong options, over real SSH."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sshd
import yaml

pytest.importorskip("aiohttp", reason="the rehearsal's requirements are not installed (lab/rehearsal)")
if not sshd.TOOLS:
    pytest.skip("no sshd, ssh and ssh-keygen here", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[2]

from lab.cluster import fleet

PLAYBOOK = Path(sys.executable).parent / "ansible-playbook"
pytestmark = pytest.mark.skipif(not PLAYBOOK.exists(), reason="ansible is not installed beside this Python")
BROKEN, ODD, WRONG, AUTO, CLUSTERS = 1, 2, 3, 4, 5


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    with fleet.Fleet(tmp_path_factory.mktemp("fleet"), CLUSTERS, {BROKEN: "p2p-disabled"}) as running:
        yield running


def validate(
    up: fleet.Fleet, folder: Path, *options: str, playbook="validate.yml"
) -> tuple[dict, subprocess.CompletedProcess]:
    hosts = yaml.safe_load(up.inventory.read_text(encoding="utf-8"))
    decode = hosts["kv_decode"]["hosts"]
    decode[fleet.name(ODD, "decode")]["kv_reuse_ca_cert"] = "/nowhere/ca.pem"
    decode[fleet.name(WRONG, "decode")].update(kv_reuse_trials="many", kv_reuse_api_key="sk-secret-0123")
    hosts["kv_controller"]["hosts"][fleet.name(WRONG, "controller")]["kv_reuse_log"] = "{{ nobody_defined_this }}"
    decode[fleet.name(AUTO, "decode")]["ansible_python_interpreter"] = "auto"
    inventory = folder / "hosts.yml"
    inventory.write_text(yaml.safe_dump(hosts), encoding="utf-8")
    done = subprocess.run(
        [PLAYBOOK, "-i", inventory, playbook, "-e", f"kv_reuse_reports_dir={folder / 'reports'}", *options],
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
    assert verdicts == {"c000": ["pass"], "c001": ["fail"], "c002": [], "c003": [], "c004": ["pass"]}
    assert seen["c001"]["pairs"][0]["findings"][0]["slug"] == "p2p-disabled"
    (lost,) = seen["c002"]["not_judged"]
    assert lost["reason"] == ("receiver.ca_cert /nowhere/ca.pem is no file on this machine: give the CA's PEM file")
    (lost,) = seen["c003"]["not_judged"]
    assert lost["reason"].startswith(
        "c003-decode: Validation of arguments failed: argument 'kv_reuse_trials' is of type"
    )
    assert "c002-prefill → c002-decode not judged" in done.stdout
    failed = {line.split()[0] for line in done.stdout.splitlines() if " failed=1 " in line}
    assert failed == {"c001-decode", "c002-decode", "c003-decode", "c003-controller"}
    assert "nobody_defined_this" in done.stdout
    assert "sk-secret" not in done.stdout + done.stderr + json.dumps(doc)
    assert "Traceback" not in done.stdout + done.stderr


def test_a_limit_judges_what_it_touched_and_says_so(up, tmp_path):
    doc, done = validate(up, tmp_path, "--limit", "c000*,c004-prefill")
    assert done.returncode == 0, done.stdout
    assert [one["name"] for one in doc["clusters"]] == ["c000"]
    left = {one["cluster"]: one["reason"] for one in doc["not_probed"]}
    assert left["c004"] == "c004-decode not in this run (--limit)"
    assert "only 3 of 10 engines are in this run (--limit); it judges no others" in doc["notes"]


PLAY = """
- hosts: c000*
  gather_facts: false
  vars:
    kv_reuse_trials: 2
    kv_reuse_chunks: 3
  roles:
    - role: kv_reuse
      kv_reuse_chunks: 2
"""


def test_variables_of_a_play_and_of_its_role_count(up, tmp_path):
    (tmp_path / "own.yml").write_text(PLAY, encoding="utf-8")
    doc, done = validate(up, tmp_path, playbook=tmp_path / "own.yml")
    assert done.returncode == 0, done.stdout
    (pair,) = doc["clusters"][0]["pairs"]
    assert len(pair["trials"]) == 2
    assert {trial["expected"] for trial in pair["trials"]} == {2 * 256}


@pytest.mark.parametrize(
    ("end", "number"),
    [(os.killpg, signal.SIGINT), (os.kill, signal.SIGKILL), (os.kill, signal.SIGHUP), (os.kill, signal.SIGTERM)],
)
def test_a_run_that_is_ended_sends_no_more_prompts(up, tmp_path, end, number):
    command = [PLAYBOOK, "-i", up.inventory, "validate.yml", "-e", f"kv_reuse_reports_dir={tmp_path / 'reports'}"]
    run = subprocess.Popen(
        [*command, "-e", "kv_reuse_trials=20"],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    try:
        next(line for line in run.stdout if "Send the prefill and decode requests" in line)
        assert _until(lambda: len(_processes(tmp_path)) >= 2 + CLUSTERS)  # ansible-playbook, its worker, the probing
    finally:
        end(run.pid, number)
        run.communicate(timeout=60)
    assert run.returncode != 0
    assert _until(lambda: not _processes(tmp_path)), "processes of the run go on"


def _processes(folder: Path) -> list[str]:
    """Those that have this folder in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def _until(reached, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not reached() and time.monotonic() < deadline:
        time.sleep(0.1)
    return bool(reached())


def test_batches_that_cut_clusters_apart_are_refused(up, tmp_path):
    (tmp_path / "own.yml").write_text(PLAY.replace("gather_facts: false", "gather_facts: false\n  serial: 2"))
    doc, done = validate(up, tmp_path, playbook=tmp_path / "own.yml")
    assert done.returncode == 2
    assert "this play runs on its hosts in batches (serial)" in done.stdout
    assert doc["clusters"] == []
    assert "in batches (serial)" in doc["problems"][0]


def test_all_faults_that_a_fleet_can_be_given_are_known():
    slugs = fleet.plantable()
    assert {"p2p-disabled", "hash-seed-differs", "output-differs--zeroed"} <= set(slugs)
    assert "controller-down" not in slugs  # nothing but settings: nobody stops a process here
    assert fleet.spread(["a", "b"], 10) == {0: "a", 5: "b"}
