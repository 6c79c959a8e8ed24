# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The validation within playbooks of others: as a gate, without the callback, under other strategies, with become."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ansible")

ROOT = Path(__file__).resolve().parents[2]
INVENTORY = """
all:
  vars: {ansible_connection: local, ansible_python_interpreter: PYTHON, kv_reuse_deadline: 5}
  children:
    kv_prefill: {hosts: {p: {kv_reuse_url: "http://127.0.92.1:9"}}}
    kv_decode: {hosts: {d: {kv_reuse_url: "http://127.0.92.2:9"}}}
""".replace("PYTHON", sys.executable)
GATE = f"""
- import_playbook: {ROOT}/validate.yml
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.file: {{path: opened, state: touch}}
"""
OWN = """
- hosts: all
  gather_facts: false
  PLAY
  tasks:
    - import_role: {name: kvproof.cluster.kv_reuse, rolespec_validate: false}
      ignore_errors: IGNORE
    - ansible.builtin.debug: {var: kv_reuse_judged}
"""


class Pipeline:
    """A folder with the collection installed, an inventory of engines that nobody serves, and a playbook."""

    def __init__(self, folder: Path):
        self.folder = folder
        collections = folder / "collections" / "ansible_collections" / "kvproof"
        collections.mkdir(parents=True)
        (collections / "cluster").symlink_to(ROOT)
        (folder / "hosts.yml").write_text(INVENTORY)

    def run(self, playbook: str, *words: str, **environment: str) -> subprocess.CompletedProcess:
        (self.folder / "site.yml").write_text(playbook)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "KV_REUSE_"))}
        more = {"ANSIBLE_HOME": str(self.folder / ".ansible"), "PYTHONIOENCODING": "utf-8", **environment}
        paths = {"ANSIBLE_COLLECTIONS_PATH": str(self.folder / "collections")}
        return subprocess.run(
            [sys.executable, "-m", "ansible", "playbook", "-i", "hosts.yml", "site.yml", *words],
            cwd=self.folder, env={**kept, **more, **paths}, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def report(self) -> dict:
        return json.loads((self.folder / "reports" / "verdict.json").read_text())


@pytest.fixture
def pipeline(tmp_path) -> Pipeline:
    return Pipeline(tmp_path)


def own(play: str = "", ignore: bool = False) -> str:
    return OWN.replace("PLAY", play).replace("IGNORE", str(ignore).lower())


@pytest.mark.parametrize("ends_run", [True, False])
def test_no_later_play_runs_after_a_validation_that_is_no_pass(pipeline, ends_run):
    words = [] if ends_run else ["-e", "kv_reuse_ends_run=false"]
    done = pipeline.run(GATE, *words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert pipeline.report()["verdict"] == "fail"
    assert (pipeline.folder / "opened").exists() is not ends_run


def test_without_the_callback_a_task_says_the_verdict_and_no_earlier_report_stays(pipeline):
    (pipeline.folder / "reports").mkdir()
    (pipeline.folder / "reports" / "verdict.json").write_text('{"status": "complete", "verdict": "pass"}')
    done = pipeline.run(own(), ANSIBLE_SHOW_CUSTOM_STATS="1")
    assert done.returncode == 2, done.stdout + done.stderr
    assert not (pipeline.folder / "reports").exists()
    assert "kv_reuse: fail (0 of 1 pairs passed)" in done.stdout
    assert "FAIL default: p → d at link 1 (reachable): engine-unreachable" in done.stdout
    assert "callbacks_enabled = kvproof.cluster.kv_reuse_report" in done.stdout
    stats = done.stdout.partition("CUSTOM STATS")[2]
    for words in ('"verdict": "fail"', '"failing_clusters": ["default"]', '"finding": "engine-unreachable"'):
        assert words in " ".join(stats.split()).replace("[ ", "[").replace(" ]", "]")


def test_where_ansible_finds_no_task_to_start_at_the_reports_are_no_pass(pipeline):
    """Ansible ends with 0 then, and no plugin can change that; an earlier run's pass must not stand."""
    (pipeline.folder / "reports").mkdir()
    (pipeline.folder / "reports" / "verdict.json").write_text('{"status": "complete", "verdict": "pass"}')
    enabled = {"ANSIBLE_CALLBACKS_ENABLED": "kvproof.cluster.kv_reuse_report"}
    done = pipeline.run(GATE, "--start-at-task", "no such task", **enabled)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no pair was judged" in done.stdout
    report = pipeline.report()
    assert (report["verdict"], report["run_fails"], report["clusters"]) == ("inconclusive", True, [])


@pytest.mark.parametrize("urls", [{"PREFILL_URL": "http://127.0.92.1:9", "DECODE_URL": "http://127.0.92.2:9"}, {}])
@pytest.mark.parametrize("words", [["--tags", "no such tag"], ["--skip-tags", "all"]], ids=" ".join)
def test_tags_leave_no_way_to_judge_nothing_without_an_inventory(pipeline, urls, words):
    """The tasks that make hosts of two URLs, or refuse that there is none, are never left out."""
    (pipeline.folder / "hosts.yml").write_text("all: {}")
    done = pipeline.run(GATE, *words, **urls)
    assert done.returncode == 2, done.stdout + done.stderr
    assert not (pipeline.folder / "opened").exists()


def test_with_the_callback_showing_the_result_afterwards_does_nothing(pipeline):
    enabled = {"ANSIBLE_CALLBACKS_ENABLED": "kvproof.cluster.kv_reuse_report"}
    done = pipeline.run(own(ignore=True), **enabled)
    assert "kv_reuse_judged" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert "Callback dispatch" not in done.stderr
    assert "Failure using method" not in done.stderr
    assert "callbacks_enabled" not in done.stdout
    assert pipeline.report()["verdict"] == "fail"


@pytest.mark.parametrize("strategy", ["free", "host_pinned", "ansible.builtin.free"])
def test_strategies_under_which_every_host_would_probe_are_refused(pipeline, strategy):
    done = pipeline.run(own(f"strategy: {strategy}"))
    assert done.returncode == 2
    assert f"this play's strategy is {strategy}" in done.stdout
    assert "Send the prefill and decode requests" not in done.stdout


def test_check_mode_says_that_nothing_is_proven_and_fails_nobody(pipeline):
    done = pipeline.run(GATE, "--check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (pipeline.report()["verdict"], pipeline.report()["run_fails"]) == ("inconclusive", True)
    assert "nothing was sent: check mode" in done.stdout
    assert "no task failed, so Ansible exits with 0 although this run is no pass" in " ".join(done.stdout.split())


def test_check_mode_still_refuses_what_a_run_would_refuse(pipeline):
    assert pipeline.run(GATE, "--check", "-e", "kv_reuse_pairs=some").returncode == 2
    assert pipeline.run(GATE, "--check", "-e", "kv_reuse_url=prefill").returncode == 2


BECOME = (
    "import os, sys\nopen(os.environ['BECAME'], 'a').write('x')\nos.execvp('/bin/sh', ['sh', '-c', sys.argv[-1]])\n"
)


@pytest.mark.parametrize(
    ("play", "words", "becomes"),
    [
        ("become: true", [], True),
        ("", ["-b"], True),
        ("", [], False),
        ("", ["-e", "kv_reuse_become=true"], True),
        ("become: true", ["-e", '{"kv_reuse_become": false}'], False),
    ],
)
def test_the_plays_become_counts_unless_the_variable_is_set(pipeline, play, words, becomes):
    sudo = pipeline.folder / "sudo"
    sudo.write_text(f"#!{sys.executable}\n{BECOME}")
    sudo.chmod(0o755)
    became = pipeline.folder / "became"
    done = pipeline.run(
        own(play), *words, "-e", f"ansible_become_exe={sudo}", BECAME=str(became), ANSIBLE_BECOME_ALLOW_SAME_USER="1"
    )
    assert "engine-unreachable" in done.stdout, done.stdout + done.stderr
    assert became.exists() is becomes
