# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""What a run says when its surroundings change under it: a member of the cluster is killed, held up or restarted at
each phase, a clock jumps, another run asks the same engines, the disk is full.

It ends in time; it passes only where all was proven; and a failure is of the one that was disturbed.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sshd
import yaml

pytest.importorskip("ansible")
pytest.importorskip("aiohttp", reason="the rehearsal's requirements are not installed (lab/rehearsal)")
pytest.importorskip("cbor2", reason="the rehearsal's requirements are not installed (lab/rehearsal)")
if not sshd.TOOLS:
    pytest.skip("no sshd, ssh and ssh-keygen here", allow_module_level=True)

from lab.cluster.cluster import Cluster
from lab.cluster.slots import Slots

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOK = Path(sys.executable).parent / "ansible-playbook"
DEADLINE_S, NODE_TIMEOUT_S = 12, 10
ENDS_S = DEADLINE_S + NODE_TIMEOUT_S + 10 + 20  # what a run may take, and Ansible's own start on a busy machine
PAUSE_S = 4.0
READING, JUDGING = "collect its server log", "Judge every pair"  # words of the tasks
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


@pytest.fixture(scope="module")
def slots():
    return Slots()


class Stage:
    """A cluster with an SSH server for each member, and runs of validate.yml.  fault: as in lab/faults."""

    def __init__(self, slot, folder: Path, fault: dict | None = None):
        self.folder, self.cluster = folder, Cluster(slot.lab(folder / "cluster"), fault)
        self.servers = {name: sshd.Sshd(folder / name, address=at) for name, at in self.cluster.addresses.items()}

    def __enter__(self) -> Stage:
        self.cluster.__enter__()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.cluster.stop()
        for server in self.servers.values():
            server.close()

    def inventory(self) -> dict:
        def host(name: str, **variables) -> dict:
            url = {"kv_reuse_url": f"http://{self.cluster.addresses[name]}:8000"}
            return {"hosts": {f"{name}-1": {**self.servers[name].variables(), **url, **variables}}}

        told = {"kv_reuse_deadline": DEADLINE_S, "kv_reuse_node_timeout": NODE_TIMEOUT_S}
        return {
            "kv_prefill": host("prefill"),
            "kv_decode": host("decode"),
            "kv_controller": host("controller", kv_reuse_controller_url=self.cluster.controller_url),
            "all": {"vars": told},
        }

    def disturb(self, who: str, how: str) -> None:
        if how == "restarted":
            self.cluster.fault["who"] = who
            self.cluster.restart()
            return
        pid = self._pid(who)
        os.kill(pid, signal.SIGKILL if how == "killed" else signal.SIGSTOP)
        if how == "held up":
            time.sleep(PAUSE_S)
            os.kill(pid, signal.SIGCONT)

    def _pid(self, who: str) -> int:
        if who.startswith("sshd-"):
            return self.servers[who[len("sshd-") :]].process.pid
        return json.loads((self.cluster.lab.dir / "run" / f"{who}-1.pid").read_text())["pid"]

    def run(self, name: str = "run", before: tuple = (), **environment: str) -> Run:
        return Run(self, self.folder / name, before, environment)


class Run:
    """One run of validate.yml.  before: a command that is given it; environment: over ours."""

    def __init__(self, stage: Stage, folder: Path, before: tuple, environment: dict[str, str]):
        self.stage, self.output, self.reports = stage, folder / "output", folder / "reports"
        self.reports.mkdir(parents=True)
        (folder / "hosts.yml").write_text(yaml.safe_dump(stage.inventory()))
        command = [*before, PLAYBOOK, "-i", folder / "hosts.yml", "validate.yml"]
        command += ["-e", f"kv_reuse_reports_dir={self.reports}"]
        known = {**os.environ, "ANSIBLE_HOME": str(folder / "ansible"), "PYTHONIOENCODING": "utf-8", **environment}
        self.began = time.monotonic()
        with open(self.output, "wb") as file:
            self.process = subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=file, stderr=file, env=known)

    def reaches(self, when: str) -> None:
        """Waits for the first seed, the second trial, or a task by words of its name."""
        cluster = self.stage.cluster
        path, sign = {
            "seed": (cluster.log("prefill"), "-0-seed"),
            "wait": (cluster.log("prefill"), "-0-seed[^\n]*Stored"),
            "reuse": (cluster.log("decode"), "-1-"),
        }.get(when, (self.output, when))
        while not re.search(sign, path.read_text(errors="replace")) and self.process.poll() is None:
            time.sleep(0.01)

    def ends(self) -> tuple[int, dict]:
        """(exit code, the pair in its verdict); it ends in time."""
        try:
            self.process.wait(max(0.0, self.began + ENDS_S - time.monotonic()))
        finally:
            self.process.kill()
        return self.process.returncode, self.pair()

    def pair(self) -> dict:
        return json.loads((self.reports / "verdict.json").read_text())["clusters"][0]["pairs"][0]


def disturbed(slots: Slots, folder: Path, when: str, who: str, how: str) -> tuple[int, dict]:
    """What Run.ends() tells of a run in which this happens to a member."""
    with slots.take() as slot, Stage(slot, folder) as stage:
        run = stage.run()
        run.reaches(when)
        stage.disturb(who, how)
        return run.ends()


def slugs(pair: dict) -> list[tuple[str, str]]:
    return [(found["slug"], found["host"]) for found in pair["findings"]]


KILLED = {
    ("seed", "controller"): ("fail", ("controller-down", "controller-1")),
    ("seed", "prefill"): ("fail", ("engine-gone", "prefill-1")),
    ("seed", "decode"): ("fail", ("engine-gone", "decode-1")),
    ("wait", "controller"): ("fail", ("controller-down", "controller-1")),
    ("wait", "prefill"): ("fail", ("engine-gone", "prefill-1")),
    ("wait", "decode"): ("fail", ("engine-gone", "decode-1")),
    ("reuse", "controller"): ("inconclusive", ("controller-down", "controller-1")),
    ("reuse", "prefill"): ("fail", ("engine-gone", "prefill-1")),
    ("reuse", "decode"): ("fail", ("engine-gone", "decode-1")),
    # all was proven before; what is gone since is told
    (READING, "controller"): ("pass", ("controller-down", "controller-1")),
    (READING, "prefill"): ("pass", ("log-unreadable", "prefill-1")),
    (READING, "decode"): ("pass", ("log-unreadable", "decode-1")),
    (JUDGING, "controller"): ("pass", None),
    (JUDGING, "prefill"): ("pass", None),
    (JUDGING, "decode"): ("pass", None),
}
USUAL = {("seed", "controller"), ("reuse", "prefill"), (READING, "decode")}  # the others: make hostile


def _marked(case: tuple) -> object:
    return case if case in USUAL else pytest.param(*case, marks=pytest.mark.hostile)


@pytest.mark.parametrize(("when", "who"), [_marked(case) for case in KILLED])
def test_a_member_that_is_killed_is_named(slots, tmp_path, when, who):
    code, pair = disturbed(slots, tmp_path, when, who, "killed")
    verdict, finding = KILLED[when, who]
    assert (pair["verdict"], code) == (verdict, 0 if verdict == "pass" else 2), slugs(pair)
    assert finding is None or finding in slugs(pair)
    assert verdict != "fail" or slugs(pair)[0] == finding


@pytest.mark.hostile
@pytest.mark.parametrize("when", ["seed", "reuse", READING])
@pytest.mark.parametrize("who", ["controller", "prefill", "decode", "sshd-decode"])
def test_a_member_that_is_held_up_for_a_while_is_no_failure(slots, tmp_path, when, who):
    code, pair = disturbed(slots, tmp_path, when, who, "held up")
    assert (pair["verdict"], code) in (("pass", 0), ("inconclusive", 2)), slugs(pair)


@pytest.mark.hostile
@pytest.mark.parametrize(("when", "finding"), [("seed", "not-registered"), ("reuse", None), (READING, None)])
def test_a_controller_that_is_restarted_forgets_its_engines(slots, tmp_path, when, finding):
    code, pair = disturbed(slots, tmp_path, when, "controller", "restarted")
    assert (code == 0) == (pair["verdict"] == "pass")
    if finding:
        assert pair["verdict"] == "fail"
        assert slugs(pair)[0][0] == finding
    else:
        assert pair["verdict"] != "fail", slugs(pair)


@pytest.mark.hostile
@pytest.mark.parametrize("who", ["prefill", "decode"])
@pytest.mark.parametrize("when", ["seed", "wait", "reuse"])
def test_an_engine_that_is_restarted_is_no_pass(slots, tmp_path, when, who):
    code, pair = disturbed(slots, tmp_path, when, who, "restarted")
    assert pair["verdict"] != "pass", slugs(pair)
    assert code == 2


@pytest.mark.hostile
@pytest.mark.parametrize("when", ["seed", READING])
def test_a_node_that_nobody_can_log_in_to_any_more_is_told(slots, tmp_path, when):
    code, pair = disturbed(slots, tmp_path, when, "sshd-decode", "killed")
    assert pair["verdict"] != "fail", slugs(pair)
    assert (code == 0) == (pair["verdict"] == "pass")
    assert pair["links"][10]["state"] == "holds" or ("ssh-unreachable", "decode-1") in slugs(pair)


def test_two_runs_at_once_are_judged_right_or_told_of_each_other(slots, tmp_path):
    with slots.take() as slot, Stage(slot, tmp_path) as stage:
        runs = [stage.run("one"), stage.run("other")]
        ended = [run.ends() for run in runs]
    for code, pair in ended:
        assert (pair["verdict"], code) in (("pass", 0), ("inconclusive", 2)), slugs(pair)
        if pair["verdict"] != "pass":
            assert "not-idle" in [slug for slug, _host in slugs(pair)], slugs(pair)


#: Loaded by every Python of the validator's: its clock is that of a file's offset from then on.
CLOCK = """
import os, time
real = time.time
def shifted():
    with open(os.environ["OFFSET_FILE"]) as file:
        return real() + float(file.read())
time.time = shifted
"""


@pytest.mark.skipif(FAKETIME is None, reason="libfaketime is not installed (Debian: apt-get install faketime)")
@pytest.mark.parametrize("who", ["prefill", "decode"])
def test_a_nodes_clock_that_jumps_by_hours_changes_nothing(slots, tmp_path, who):
    offset = tmp_path / "offset"
    offset.write_text("+0")
    clock = {"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_NO_CACHE": "1"}
    clock["FAKETIME_DONT_FAKE_MONOTONIC"] = "1"
    with slots.take() as slot, Stage(slot, tmp_path, {who: {"env": clock}}) as stage:
        run = stage.run()
        run.reaches("seed")
        offset.write_text("+5h")
        code, pair = run.ends()
    assert (pair["verdict"], code) == ("pass", 0), (slugs(pair), run.output.read_text()[-3000:])


@pytest.mark.parametrize("seconds", [-18_000, 18_000])
def test_the_validators_clock_that_jumps_by_hours_changes_nothing(slots, tmp_path, seconds):
    offset = tmp_path / "offset"
    offset.write_text("0")
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(CLOCK)
    with slots.take() as slot, Stage(slot, tmp_path) as stage:
        run = stage.run(PYTHONPATH=str(tmp_path / "clock"), OFFSET_FILE=str(offset))
        run.reaches("seed")
        offset.write_text(str(seconds))
        code, pair = run.ends()
    assert (pair["verdict"], code) == ("pass", 0), (slugs(pair), run.output.read_text()[-3000:])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk that is full")
@pytest.mark.parametrize(
    ("options", "why"), [("size=16k", "want 144 KB"), ("ro", "Read-only file system")], ids=["full", "read-only"]
)
def test_reports_that_cannot_be_written_are_refused_before_anything_is_sent(slots, tmp_path, options, why):
    with slots.take() as slot, Stage(slot, tmp_path) as stage:
        mount = f'mount -t tmpfs -o {options} tmpfs {tmp_path}/run/reports && exec "$@"'
        run = stage.run(before=("unshare", "--mount", "sh", "-c", mount, "sh"))
        assert run.process.wait(ENDS_S) == 2
        assert '"POST /v1/completions' not in stage.cluster.log("prefill").read_text()
    output = " ".join(run.output.read_text().split())
    assert why in output
    assert "PASS" not in output
