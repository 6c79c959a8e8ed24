# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""Logs that are not on the node: read on the controller within bounds, whatever their command does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import sshd
import yaml

pytest.importorskip("ansible")

from ansible.errors import AnsibleConnectionFailure

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "action_plugins"))

import lmcache_node_info
from kvproof.evidence.assemble import node_of

from plugin_utils.base import Refused

FIXTURE = ROOT / "tests" / "fixtures" / "logs" / "healthy_decode.log"
RUN = {"ids": ["probe-mwbbucwy-B", "probe-never"], "run_marker": "probe-"}
PLAYBOOK = Path(sys.executable).parent / "ansible-playbook"


class Action(lmcache_node_info.ActionModule):
    """The action without Ansible around it, on a host that answers `answer`, or is lost."""

    def __init__(self, log: dict, answer: dict | None = None, **args):
        self._task = SimpleNamespace(action="lmcache_node_info", args={"log": log, **RUN, **args})
        self.host, self.asked = answer, []

    def _ask(self, asked, seconds, task_vars):
        self.asked.append((asked, seconds))
        if asked and self.host is None:
            raise AnsibleConnectionFailure("no route to host")
        return self.host or {"said": {}, "problems": []}

    def ask(self) -> dict:
        return self.answer(self.arguments(), {})


def log_of(command: list[str], **args) -> tuple[dict, float]:
    began = time.monotonic()
    log = Action({"on_controller": {"command": command}}, parts=["log"], **args).ask()["log"]
    return log, time.monotonic() - began


@pytest.mark.parametrize("source", [{"file": str(FIXTURE)}, {"command": ["cat", str(FIXTURE)]}])
def test_it_is_searched_as_on_the_node(source):
    log = Action({"on_controller": source}, parts=["log"]).ask()["log"]
    there = lmcache_node_info.modules.answer_all({"lmcache_log_info": {"log": source, **RUN}})["said"]["log"]
    assert log == {**there, "found_by": "on_controller"}
    assert (log["ids_found"], log["ids_missing"]) == (["probe-mwbbucwy-B"], ["probe-never"])


def test_the_run_s_begin_is_told_to_the_command():
    script = "test $0 = 1000000000 && test $1 = 2001-09-09T01:46:40Z"
    log, _took = log_of(["sh", "-c", script, "{since}", "{since_time}"], since=1_000_000_005.0)
    assert log["state"] == "empty"


@pytest.mark.parametrize(
    ("command", "state", "detail"),
    [
        (["sleep", "30"], "failed", "on the controller: sleep did not end within 1 s"),
        (["sh", "-c", "setsid sleep 5 & exit 0"], "failed", "on the controller: sh did not end within 1 s"),
        (["sh", "-c", "echo forbidden; exit 3"], "failed", "on the controller: sh ended with code 3: forbidden"),
        (["kubectl-of-nobody", "logs"], "failed", "on the controller: kubectl-of-nobody could not be started"),
        (["true"], "empty", "on the controller: the command printed nothing"),
    ],
)
def test_a_command_that_gives_no_log_says_why_in_time(command, state, detail):
    log, took = log_of(command, log_timeout=1.0)
    assert (log["state"], log["detail"][: len(detail)]) == (state, detail)
    assert log["ids_missing"] == RUN["ids"]
    assert took < 5


def test_a_command_that_floods_is_cut_at_the_budget():
    log, took = log_of(["yes"], log_budget=1 << 20)
    assert log["truncated"]
    assert log["bytes_read"] < 2 << 20
    assert took < 10


def test_it_has_half_of_the_host_s_time_and_the_host_the_rest():
    action = Action(
        {"on_controller": {"command": ["sleep", "30"]}}, {"said": {"node": {}}, "problems": []}, timeout=3.0
    )
    assert action.ask()["node"] == {}
    ((asked, seconds),) = action.asked
    assert asked["lmcache_node_info"]["log_seen"]["detail"] == "on the controller: sleep did not end within 1.5 s"
    assert 0.5 < seconds <= 1.6


def test_the_node_reads_no_other_log_then(tmp_path):
    other = tmp_path / "other.log"
    other.write_text("nothing of ours\n")
    seen, _took = log_of(["cat", str(FIXTURE)])
    params = {"port": 1, "host": "127.0.0.1", "log_seen": seen, "dial_timeout": 0.1, "api_timeout": 0.1, **RUN}
    told = lmcache_node_info.modules.answer_all({"lmcache_node_info": params})
    node = told["said"]["node"]
    assert node["log"] == seen
    assert (node["effective"]["source"], node["effective"]["values"]["enable_p2p"]) == ("log", True)
    told = lmcache_node_info.modules.answer_all({"lmcache_node_info": {**params, "log_seen": {"state": "ok"}}})
    assert told["problems"] == ["log_seen: give what lmcache_log_info returned, or leave it out"]


def test_a_host_that_is_lost_still_has_its_log():
    result = Action({"on_controller": {"file": str(FIXTURE)}}).ask()
    assert (result["unreachable"], result["msg"]) == (True, "no route to host")
    node = node_of(result)
    assert (node["ssh"], node["ssh_reason"], node["log"]["ids_found"]) == (
        "unreachable",
        "no route to host",
        ["probe-mwbbucwy-B"],
    )
    with pytest.raises(AnsibleConnectionFailure):
        Action({"file": str(FIXTURE)}).ask()


@pytest.mark.parametrize(
    ("log", "problem"),
    [
        ({"on_controller": {}}, "log.on_controller: give one of file and command"),
        ({"on_controller": {"file": "/a", "command": ["b"]}}, "log.on_controller: give one of file and command"),
        ({"unit": "vllm", "on_controller": {"file": "/a"}}, "log: give exactly one of file, unit, command and"),
    ],
)
def test_what_names_no_log_or_two_is_refused(log, problem):
    with pytest.raises(Refused, match=problem):
        Action(log).ask()


@pytest.mark.skipif(not sshd.TOOLS or not PLAYBOOK.exists(), reason="no OpenSSH, or no ansible beside this Python")
def test_a_cluster_whose_logs_are_elsewhere_is_proven_without_its_nodes(tmp_path):
    pytest.importorskip("aiohttp", reason="the rehearsal's requirements are not installed (lab/rehearsal)")
    from lab.cluster import fleet

    with fleet.Fleet(tmp_path / "fleet", 2) as up:
        hosts = yaml.safe_load(up.inventory.read_text(encoding="utf-8"))
        engines = {**hosts["kv_prefill"]["hosts"], **hosts["kv_decode"]["hosts"]}
        for name, variables in engines.items():
            variables["kv_reuse_log"] = {"on_controller": {"command": ["cat", variables["kv_reuse_log"]["file"]]}}
            if variables["kv_reuse_cluster"] == fleet.name(0):
                variables["kv_reuse_nodes"] = False
            elif name == fleet.name(1, "decode"):
                variables["ansible_port"] = 9
                variables["kv_reuse_url"] = f"http://{variables['ansible_host']}:8000"
        inventory = tmp_path / "hosts.yml"
        inventory.write_text(yaml.safe_dump(hosts), encoding="utf-8")
        done = subprocess.run(
            [PLAYBOOK, "-i", inventory, "validate.yml", "-e", f"kv_reuse_reports_dir={tmp_path / 'reports'}"],
            cwd=ROOT,
            env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
            check=False,
            capture_output=True,
            text=True,
        )
    doc = json.loads((tmp_path / "reports" / "verdict.json").read_text(encoding="utf-8"))
    pairs = {cluster["name"]: cluster["pairs"][0] for cluster in doc["clusters"]}
    assert {name: pair["verdict"] for name, pair in pairs.items()} == {"c000": "pass", "c001": "pass"}, done.stdout
    for pair in pairs.values():
        states = {link["link"]: link["state"] for link in pair["links"]}
        assert states[7] == states[11] == "holds", pair["links"]
    assert "no SSH to c001-decode" in pairs["c001"]["links"][0]["text"]
