# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""validate.yml is ended in the middle, or what it validates is: no report that looks green, nothing left, in time."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

pytest.importorskip("aiohttp", reason="the rehearsal's requirements are not installed (lab/rehearsal)")
pytest.importorskip("cbor2", reason="the rehearsal's requirements are not installed (lab/rehearsal)")

from lab.cluster.cluster import Cluster
from lab.cluster.slots import Slots

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOK = Path(sys.executable).parent / "ansible-playbook"
MOMENTS = int(os.environ.get("KVPROOF_INTERRUPTS", "6"))
LONGEST_S = 3.0  # after the run has said that it is not over; a whole run takes a little longer
ENDS_S = 15.0
STARTING_S = 30.0  # of Ansible, on a machine that is busy


@pytest.fixture(scope="module")
def slots():
    return Slots()


@pytest.fixture(scope="module")
def hosts(slots, tmp_path_factory):
    with slots.take() as slot, Cluster(slot.lab(tmp_path_factory.mktemp("cluster"))) as cluster:
        yield inventory(cluster)


def inventory(cluster: Cluster, **variables) -> dict:
    groups: dict[str, dict] = {
        f"kv_{role}": {"hosts": {f"{role}-1": {"kv_reuse_url": f"http://{cluster.addresses[role]}:8000"}}}
        for role in ("prefill", "decode")
    }
    groups["kv_controller"] = {"hosts": {"controller-1": {"kv_reuse_controller_url": cluster.controller_url}}}
    told = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **variables}
    return {**groups, "all": {"vars": told}}


class Run:
    def __init__(self, folder: Path, hosts: dict):
        self.verdict = folder / "reports" / "verdict.json"
        (folder / "hosts.yml").write_text(yaml.safe_dump(hosts))
        command = [
            PLAYBOOK,
            "-i",
            folder / "hosts.yml",
            ROOT / "validate.yml",
            "-e",
            f"kv_reuse_reports_dir={folder}/reports",
        ]
        self.process = subprocess.Popen(
            list(map(str, command)),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "TMPDIR": str(folder)},
        )

    def status(self) -> tuple[str | None, str | None]:
        """(status, verdict) of what is on disk."""
        try:
            document = json.loads(self.verdict.read_text())
        except (OSError, ValueError):
            return None, None
        return document["status"], document["verdict"]

    def left(self) -> list[str]:
        """Command lines of its session that still run."""
        found = []
        for path in Path("/proc").iterdir():
            try:
                fields = (path / "stat").read_text().rpartition(")")[2].split() if path.name.isdigit() else []
                if fields and fields[0] not in "ZX" and int(fields[3]) == self.process.pid:
                    found.append((path / "cmdline").read_text().replace("\0", " "))
            except OSError:
                pass
        return found


def until(condition, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize("number", range(MOMENTS))
def test_a_run_that_is_ended_leaves_nothing_green_and_nothing_running(hosts, tmp_path, number):
    chance = random.Random(number)
    how = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)[number % 3]
    after = chance.uniform(0.0, LONGEST_S)
    run = Run(tmp_path, hosts)
    try:
        assert until(lambda: run.status()[0] == "incomplete", 30), run.process.communicate(timeout=60)[0][-2000:]
        time.sleep(after)
        ended = run.process.poll() is not None
        if not ended:
            os.killpg(run.process.pid, how) if how == signal.SIGINT else run.process.send_signal(how)
        run.process.communicate(timeout=60)
        assert until(lambda: not run.left(), ENDS_S), f"{how.name} after {after:.2f} s leaves {run.left()}"
        status, verdict = run.status()
        if status == "complete" and verdict == "pass":
            assert run.process.returncode == 0 or ended, "a report that is whole belongs to a run that was"
        else:
            assert verdict != "pass"
            assert run.process.returncode != 0
        assert [path for path in tmp_path.rglob("*") if path.is_socket()] == []
    finally:
        if run.process.poll() is None:
            os.killpg(run.process.pid, signal.SIGKILL)


DEADLINE_S = 8


@pytest.mark.parametrize(
    ("who", "how", "findings"),
    [
        ("decode-1", signal.SIGSTOP, {"engine-hangs"}),
        ("decode-1", signal.SIGKILL, {"engine-gone"}),
        ("prefill-1", signal.SIGKILL, {"engine-gone"}),
        ("prefill-1", signal.SIGSTOP, {"engine-hangs"}),
    ],
)
def test_an_engine_that_goes_in_the_middle_is_named_in_time(slots, tmp_path, who, how, findings):
    with slots.take() as slot, Cluster(slot.lab(tmp_path / "cluster")) as cluster:
        pid = json.loads((cluster.lab.dir / "run" / f"{who}.pid").read_text())["pid"]
        seeds, began = cluster.log("prefill"), time.monotonic()
        run = Run(tmp_path, inventory(cluster, kv_reuse_deadline=DEADLINE_S))
        try:
            assert until(lambda: b"-0-seed" in seeds.read_bytes(), 30)
            os.kill(pid, how)
            output = run.process.communicate(timeout=90)[0].decode()
        finally:
            if how == signal.SIGSTOP:
                os.kill(pid, signal.SIGCONT)
        took = time.monotonic() - began
    assert run.process.returncode == 2, output
    pair = json.loads(run.verdict.read_text())["clusters"][0]["pairs"][0]
    assert pair["verdict"] != "pass"
    assert pair["findings"][0]["slug"] in findings, [entry["slug"] for entry in pair["findings"]]
    assert took < DEADLINE_S + 10 + STARTING_S, "within the deadline and ten seconds"
