# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""The inventories that the tree ships: the example is planned as it stands, the demo's variables reach nobody else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ansible")
pytest.importorskip("paramiko", reason="a cluster of the example is reached through SSH")

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PASSWORD = ROOT / "tests" / "fixtures" / "example" / "vault_password"


def run(folder: Path, program: str, *words: str) -> subprocess.CompletedProcess:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "KV_REUSE_"))}
    environment = {**kept, "ANSIBLE_HOME": str(folder / ".ansible"), "PYTHONIOENCODING": "utf-8"}
    return subprocess.run([BIN / program, *words], cwd=folder, env=environment, capture_output=True, text=True,
                          timeout=120, check=False)  # fmt: skip


def test_the_example_is_planned_with_its_vaulted_key(tmp_path):
    """Check mode sends nothing, so every pair is inconclusive; a key that cannot be read would be refused."""
    done = run(
        tmp_path, "ansible-playbook", "-i", str(ROOT / "inventory" / "example"), "--vault-password-file", str(PASSWORD),
        "--check", "-e", "kv_reuse_nodes=false", "-vvv", str(ROOT / "validate.yml"),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    doc = json.loads((tmp_path / "reports" / "verdict.json").read_text())
    pairs = {one["name"]: {(pair["holder"], pair["receiver"]) for pair in one["pairs"]} for one in doc["clusters"]}
    assert pairs == {
        "tokyo": {("tokyo-prefill-1", "tokyo-decode-1"), ("tokyo-prefill-2", "tokyo-decode-1")},
        "nagoya": {("nagoya-prefill-1", "nagoya-decode-1")},
        "osaka": {("osaka-prefill-1", "osaka-decode-1"), ("osaka-prefill-1", "osaka-decode-2")},
    }
    assert {pair["verdict"] for one in doc["clusters"] for pair in one["pairs"]} == {"inconclusive"}
    assert "sk-example-key" not in done.stdout + done.stderr + json.dumps(doc)
    assert "> Using action kv_reuse_plan" in done.stdout


def test_without_the_vaults_password_the_example_is_refused(tmp_path):
    done = run(tmp_path, "ansible-playbook", "-i", str(ROOT / "inventory" / "example"), str(ROOT / "validate.yml"))
    assert done.returncode != 0
    assert "vault" in (done.stdout + done.stderr).lower()


@pytest.mark.parametrize("folder", [ROOT, ROOT / "playbooks"], ids=["root", "playbooks"])
def test_the_demos_variables_are_beside_the_playbook(tmp_path, folder):
    done = run(tmp_path, "ansible-inventory", "-i", str(ROOT / "inventory" / "demo"), "--playbook-dir", str(folder),
               "--host", "decode-1")  # fmt: skip
    variables = json.loads(done.stdout)
    assert (variables["kv_reuse_cluster"], list(variables["kv_reuse_log"])) == ("demo", ["file"])


def test_variables_beside_the_playbook_are_those_of_the_demos_groups_alone():
    """They count before an inventory's: a group that an operator has must not be among them."""
    assert {path.stem.split("_")[0] for path in (ROOT / "group_vars").iterdir()} == {"kvproof"}


def test_ipv6_addresses_make_urls_and_misspelt_variables_are_named(tmp_path):
    hosts = {
        "kv_prefill": {"hosts": {"p": {"ansible_host": "::1", "kv_reuse_trails": 5}}},
        "kv_decode": {"hosts": {"d": {"ansible_host": "::1", "kv_reuse_our_own": "nothing like it"}}},
    }
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(json.dumps(hosts))
    done = run(
        tmp_path, "ansible-playbook", "-i", str(inventory), "-e", "kv_reuse_nodes=false", str(ROOT / "validate.yml")
    )
    assert "kv_reuse_trails (on p) is no variable of kvproof" in " ".join(done.stderr.split()), done.stderr
    doc = json.loads((tmp_path / "reports" / "verdict.json").read_text())
    (note,) = [note for note in doc["notes"] if "did you mean" in note]
    assert note.endswith("did you mean kv_reuse_trials?")
    (pair,) = doc["clusters"][0]["pairs"]
    assert "http://[::1]:8000" in json.dumps(pair)
