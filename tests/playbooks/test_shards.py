# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""One inventory in three shards, each a job of ansible-runner's remote execution, side by side; one of them killed."""

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

pytest.importorskip("aiohttp", reason="the rehearsal's requirements are not installed (lab/rehearsal)")
pytest.importorskip("ansible_runner", reason="ansible-runner is not installed (requirements-dev.txt)")
if not sshd.TOOLS:
    pytest.skip("no sshd, ssh and ssh-keygen here", allow_module_level=True)

from lab.cluster import fleet

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
RUNNER = [sys.executable, "-m", "ansible_runner"]
CLUSTERS = {1: ["c001", "c002"], 2: [], 3: ["c000"]}  # by the hash of their names
SITE = "- import_playbook: kvproof.cluster.validate\n"


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    with fleet.Fleet(tmp_path_factory.mktemp("fleet"), 3) as running:
        yield running


class Jobs:
    """What a controller of jobs sends out, a worker for each job, and what comes back."""

    def __init__(self, folder: Path, up: fleet.Fleet):
        self.folder, self.sent = folder, folder / "sent"
        for name in ("project", "inventory", "env"):
            (self.sent / name).mkdir(parents=True)
        (self.sent / "project" / "site.yml").write_text(SITE)
        (self.sent / "inventory" / "hosts.yml").write_text(up.inventory.read_text(encoding="utf-8"))
        collections = folder / "collections" / "ansible_collections" / "kvproof"
        collections.mkdir(parents=True)
        (collections / "cluster").symlink_to(ROOT)
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "KV_REUSE_"))},
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "ANSIBLE_COLLECTIONS_PATH": str(folder / "collections"),
            "ANSIBLE_CALLBACKS_ENABLED": "kvproof.cluster.kv_reuse_report",
        }

    def worker(self, number: int) -> subprocess.Popen:
        """Starts a shard's job on a worker."""
        reports = f"../artifacts/shard-{number}/kv_reuse"  # of the artifacts, which come back
        words = f"-e kv_reuse_shard={number}/3 -e kv_reuse_reports_dir={reports}"
        told = self.folder / f"{number}.sent"
        command = [*RUNNER, "transmit", self.sent, "-p", "site.yml", "-i", f"shard-{number}", "--cmdline", words]
        with told.open("wb") as out:
            subprocess.run(command, stdout=out, env=self.environment, check=True, timeout=60)
        with told.open("rb") as work, (self.folder / f"{number}.back").open("wb") as back:
            there = self.folder / f"worker-{number}"
            there.mkdir()
            return subprocess.Popen(
                [*RUNNER, "worker", "--private-data-dir", there],
                stdin=work,
                stdout=back,
                env=self.environment,
                start_new_session=True,
            )

    def process(self, number: int) -> subprocess.CompletedProcess:
        """Takes back what the worker sent; its exit code is the job's."""
        with (self.folder / f"{number}.back").open("rb") as back:
            return subprocess.run(
                [*RUNNER, "process", self.folder / "back", "-i", f"shard-{number}"],
                stdin=back,
                env=self.environment,
                check=False,
                capture_output=True,
                text=True,
                timeout=60,
            )

    def report(self, number: int) -> Path:
        return self.folder / "back" / "artifacts" / f"shard-{number}" / "kv_reuse"

    def merge(self, numbers: list[int]) -> tuple[dict, int]:
        folder = self.folder / "merged"
        done = subprocess.run(
            [
                *(BIN / "ansible-playbook", ROOT / "playbooks" / "merge_reports.yml"),
                *("-e", json.dumps({"reports": [str(self.report(number)) for number in numbers]})),
                *("-e", f"kv_reuse_reports_dir={folder}"),
            ],
            cwd=ROOT,
            env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return json.loads((folder / "verdict.json").read_text(encoding="utf-8")), done.returncode


def test_three_shards_side_by_side_and_merged(up, tmp_path):
    jobs = Jobs(tmp_path, up)
    workers = [jobs.worker(number) for number in CLUSTERS]
    assert [worker.wait(300) for worker in workers] == [0, 0, 0]
    for number, clusters in CLUSTERS.items():
        done = jobs.process(number)
        assert done.returncode == 0, done.stdout + done.stderr
        doc = json.loads((jobs.report(number) / "verdict.json").read_text(encoding="utf-8"))
        assert [one["name"] for one in doc["clusters"]] == clusters
        assert doc["shard"] == {"number": number, "of": 3, "clusters": len(clusters), "all_clusters": 3}
        assert (doc["verdict"], doc["exit_code"]) == ("pass" if clusters else "inconclusive", 0)
    assert "nothing in shard 2/3: all 3 clusters of the inventory fall into others" in jobs.process(2).stdout
    doc, code = jobs.merge([1, 2, 3])
    assert (doc["verdict"], doc["problems"], code) == ("pass", [], 0)
    assert [one["name"] for one in doc["clusters"]] == ["c000", "c001", "c002"]


def test_a_shard_whose_worker_was_killed_is_found_missing(up, tmp_path):
    jobs = Jobs(tmp_path, up)
    workers = {number: jobs.worker(number) for number in CLUSTERS}
    stdout = tmp_path / "worker-1" / "artifacts" / "shard-1" / "stdout"
    ends = time.monotonic() + 60
    while b"Send the prefill" not in (stdout.read_bytes() if stdout.exists() else b"") and time.monotonic() < ends:
        time.sleep(0.1)
    os.killpg(workers[1].pid, signal.SIGKILL)
    assert workers.pop(1).wait(60) == -signal.SIGKILL
    assert [worker.wait(300) for worker in workers.values()] == [0, 0]
    jobs.process(1)  # ends with 0 for what has no end: the exit code does not tell, the merge has to
    assert not jobs.report(1).exists()
    assert [jobs.process(number).returncode for number in workers] == [0, 0]
    doc, code = jobs.merge([1, 2, 3])
    assert (doc["verdict"], code) == ("inconclusive", 2)
    assert any("cannot be read" in problem for problem in doc["problems"])
    missing = [problem for problem in doc["problems"] if problem.startswith("shard 1/3 is in none of the reports")]
    assert len(missing) == 1
    doc, code = jobs.merge([2, 3])
    assert (doc["problems"], code) == (missing, 2)


@pytest.mark.parametrize("shard", ["4/3", "two"])
def test_a_shard_that_is_none_is_refused_in_a_sentence(up, tmp_path, shard):
    done = subprocess.run(
        [
            *(BIN / "ansible-playbook", "-i", up.inventory, "validate.yml"),
            *("-e", f"kv_reuse_shard={shard}", "-e", f"kv_reuse_reports_dir={tmp_path}"),
        ],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    (problem,) = json.loads((tmp_path / "verdict.json").read_text(encoding="utf-8"))["problems"]
    assert f"kv_reuse_shard is '{shard}': give which shard of how many" in problem


def test_two_urls_have_no_shards(tmp_path):
    done = subprocess.run(
        [
            BIN / "ansible-playbook",
            "validate.yml",
            "-e",
            "kv_reuse_shard=1/2",
            "-e",
            f"kv_reuse_reports_dir={tmp_path}",
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "PREFILL_URL": "http://127.0.92.1:9",
            "DECODE_URL": "http://127.0.92.2:9",
        },
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert "two URLs have none: leave it out" in done.stdout
