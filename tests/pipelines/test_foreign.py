# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The installed collection within a playbook that deploys, validates, and opens the load balancer: by every way in,
beside every stdout callback of ansible-core, and under ansible-runner."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ansible")

from installed import BIN, CALLBACK, environment, report

DEPLOY = """
- name: Deploy
  hosts: all
  gather_facts: false
  tasks:
    - name: Deploy the engine
      ansible.builtin.copy:
        content: "{{ kv_reuse_cluster }}"
        dest: "{{ playbook_dir }}/deployed/{{ inventory_hostname }}"
      delegate_to: localhost
"""
OPEN = """
- name: Open the load balancer
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Open it
      ansible.builtin.copy:
        content: ""
        dest: "{{ playbook_dir }}/opened"
"""
PLAY = """
- name: Validate
  hosts: all
  gather_facts: false
  ignore_unreachable: true
"""
BY_TASK = """
  tasks:
    - name: Prove that KV cache is reused
      ansible.builtin.HOW:
        name: kvproof.cluster.kv_reuse
        rolespec_validate: false
      vars:
        kv_reuse_ends_run: true
"""
BY_ROLE = """
  roles:
    - role: kvproof.cluster.kv_reuse
      kv_reuse_ends_run: true
"""
WAYS = {
    "import_playbook": "\n- name: Validate\n  ansible.builtin.import_playbook: kvproof.cluster.validate\n",
    "import_role": PLAY + BY_TASK.lstrip("\n").replace("HOW", "import_role"),
    "include_role": PLAY + BY_TASK.lstrip("\n").replace("HOW", "include_role"),
    "roles": PLAY + BY_ROLE.lstrip("\n"),
}


class Deployment:
    """A project of others: a playbook, and nothing of this tree but the installed collection."""

    def __init__(self, folder: Path, collections: Path):
        self.folder, self._collections = folder, collections
        (folder / "deployed").mkdir()

    def environment(self, **more: str) -> dict[str, str]:
        own = {"ANSIBLE_COLLECTIONS_PATH": str(self._collections), "ANSIBLE_CALLBACKS_ENABLED": CALLBACK}
        return environment(self.folder, **own, **more)

    def run(self, way: str, inventory: Path, **more: str) -> subprocess.CompletedProcess:
        (self.folder / "site.yml").write_text("---" + DEPLOY + WAYS[way] + OPEN)
        return subprocess.run(
            [BIN / "ansible-playbook", "-i", inventory, "site.yml"],
            cwd=self.folder,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def deployed(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "deployed").iterdir())


@pytest.fixture
def deployment(tmp_path, collections) -> Deployment:
    return Deployment(tmp_path, collections)


@pytest.mark.parametrize(
    ("way", "callback"),
    [
        ("import_playbook", "default"),
        ("import_role", "minimal"),
        ("include_role", "oneline"),
        ("roles", "ansible.builtin.minimal"),
    ],
)
def test_the_load_balancer_stays_closed_where_a_cluster_is_broken(deployment, clusters, way, callback):
    done = deployment.run(way, clusters, ANSIBLE_STDOUT_CALLBACK=callback)
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(deployment.deployed()) == 6
    assert not (deployment.folder / "opened").exists()
    found = report(deployment.folder / "reports")
    verdicts = {one["name"]: one["verdict"] for one in found["clusters"]}
    assert (found["exit_code"], verdicts) == (2, {"c000": "pass", "c001": "fail"})
    assert done.stdout.count("FAIL  1 of 2 pairs passed") == 1
    assert "✗ p2p-disabled" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("way", ["import_playbook", "include_role"])
def test_it_is_opened_where_all_is_well(deployment, healthy, way):
    done = deployment.run(way, healthy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (deployment.folder / "opened").exists()
    assert report(deployment.folder / "reports")["verdict"] == "pass"


def runner(deployment: Deployment, inventory: Path) -> tuple[int, Path]:
    """`ansible-runner run`; its exit code, and the job's artifacts."""
    pytest.importorskip("ansible_runner", reason="ansible-runner is not installed (requirements-dev.txt)")
    private = deployment.folder / "private"
    for name in ("project/deployed", "inventory"):
        (private / name).mkdir(parents=True)
    (private / "project" / "site.yml").write_text("---" + DEPLOY + WAYS["import_playbook"] + OPEN)
    shutil.copy(inventory, private / "inventory" / "hosts.yml")
    words = ["--ident", "job", "--cmdline", "-e kv_reuse_reports_dir=../artifacts/job/kv_reuse"]
    done = subprocess.run(
        [sys.executable, "-m", "ansible_runner", "run", private, "-p", "site.yml", *words],
        env=deployment.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=300,
        check=False,
    )
    return done.returncode, private / "artifacts" / "job"


@pytest.mark.parametrize(("cluster", "code", "status"), [("clusters", 2, "failed"), ("healthy", 0, "successful")])
def test_ansible_runner_has_the_events_the_status_and_the_reports(deployment, request, cluster, code, status):
    ended, artifacts = runner(deployment, request.getfixturevalue(cluster))
    assert (ended, (artifacts / "rc").read_text(), (artifacts / "status").read_text()) == (code, str(code), status)
    assert report(artifacts / "kv_reuse")["exit_code"] == code
    events = [json.loads(path.read_text()) for path in (artifacts / "job_events").glob("*.json")]
    tasks = {one["event_data"].get("task") for one in events if one["event_data"].get("role") == "kv_reuse"}
    assert "Judge every pair by the chain of proof" in tasks
    (end,) = [one["event_data"] for one in events if one["event"] == "playbook_on_stats"]
    outcome = end["artifact_data"]["kv_reuse_outcome"]
    assert outcome["verdict"] == ("pass" if code == 0 else "fail")
    assert outcome["failing_clusters"] == ([] if code == 0 else ["c001"])
    plain = re.sub(r"\x1b\[[0-9;]*m", "", (artifacts / "stdout").read_text())
    assert ("PASS  1 of 1" if code == 0 else "FAIL  1 of 2") in plain
    assert "probed" not in plain, "no line of progress, each of which would be an event"
