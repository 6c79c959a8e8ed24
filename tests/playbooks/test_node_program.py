# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""The program that is piped into a node's Python, and when the task that reads hosts uses it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from kvproof.node import modules as answers

from plugin_utils import node_program as nodeprogram

pytest.importorskip("ansible")

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "action_plugins"))

import lmcache_node_info


def run(program: bytes, python: str = sys.executable) -> subprocess.CompletedProcess:
    return subprocess.run([python, "-I", "-"], input=program, capture_output=True, timeout=60, check=False)


def test_it_answers_as_the_modules_do(tmp_path):
    log = tmp_path / "engine.log"
    log.write_text("nothing of ours\n")
    asked = {
        "lmcache_log_info": {"log": {"file": str(log)}, "ids": ["kvp-ü"]},
        "lmcache_controller_info": {"url": "http://127.0.0.1:1", "port": 1},
    }
    done = run(nodeprogram.build(asked))
    assert (done.returncode, done.stderr) == (0, b"")
    told, here = json.loads(done.stdout), answers.answer_all(asked)
    assert told["problems"] == here["problems"] == []
    here = json.loads(json.dumps(here))
    for one in (told, here):  # what differs from one reading to the next
        one["said"]["log"].pop("duration_s", None)
    assert told == here


def test_what_cannot_be_used_is_told_beside_what_can():
    told = answers.answer_all(
        {"lmcache_node_info": {"port": 0}, "lmcache_controller_info": {"url": "http://127.0.0.1:1"}}
    )
    assert list(told["said"]) == ["controller"]
    assert told["problems"] == ["port: give the engine's port, a number from 1 to 65535, not 0"]


def test_an_old_python_says_so():
    program = nodeprogram.build({}).replace(b"< (3, 8)", b"< (99,)")
    assert run(program).returncode == nodeprogram.TOO_OLD


class Action(lmcache_node_info.ActionModule):
    """The action without Ansible around it: a host that answers a command with `answer`."""

    def __init__(self, answer: dict, pipelining: bool | None = False, become: object = None):
        options = {} if pipelining is None else {"pipelining": pipelining}
        self._connection = SimpleNamespace(has_pipelining=True, become=become, get_option=options.__getitem__)
        self._display = SimpleNamespace(vvv=lambda *_args, **_more: None)
        self._task = SimpleNamespace(action="lmcache_node_info")
        self._templar = SimpleNamespace(template=lambda value: value.replace("{{ here }}", "/opt"))
        self.answer, self.commands, self.modules = {"rc": 0, "stdout": "", "stderr": "", **answer}, [], []

    def _compute_environment_string(self, raw_environment_out=None):
        return ""

    def _low_level_execute_command(self, cmd, sudoable=True, in_data=None, **_more):
        self.commands.append(cmd)
        assert in_data
        return self.answer

    def _execute_module(self, module_name=None, module_args=None, task_vars=None, **_more):
        self.modules.append(module_name)
        return {"controller": {"by": "module"}}

    def ask(self, task_vars: dict) -> dict:
        wanted = {"lmcache_controller_info": {}}
        return self._by_program(wanted, 60.0, task_vars) or self._by_modules(wanted, task_vars)


SAID = {"stdout": 'a banner\n{"said": {"controller": {"by": "program"}}, "problems": []}\nlogged out\n'}
ADVICE = "(set ansible_python_interpreter to a Python 3.8 or later of this host)"
BY_MODULE = {"said": {"controller": {"by": "module"}}, "problems": []}


@pytest.mark.parametrize(
    ("task_vars", "command"),
    [
        ({}, "python3 -"),
        ({"ansible_python_interpreter": "auto_silent"}, "python3 -"),
        ({"ansible_facts": {"discovered_interpreter_python": "/usr/bin/python3.12"}}, "/usr/bin/python3.12 -"),
        ({"ansible_python_interpreter": "{{ here }}/python"}, "/opt/python -"),
    ],
)
def test_which_python_it_is_piped_into(task_vars, command):
    action = Action(SAID)
    assert action.ask(task_vars)["said"] == {"controller": {"by": "program"}}
    assert (action.commands, action.modules) == ([command], [])


@pytest.mark.parametrize("code", [lmcache_node_info.NOT_FOUND, nodeprogram.TOO_OLD])
def test_a_host_whose_python_is_elsewhere_is_left_to_ansible(code):
    action = Action({"rc": code})
    assert action.ask({}) == BY_MODULE
    told = Action({"rc": code, "stderr": "sh: not found\n"}).ask({"ansible_python_interpreter": "/opt/python"})
    why = {lmcache_node_info.NOT_FOUND: "sh: not found", nodeprogram.TOO_OLD: "it is older than 3.8"}[code]
    assert told == {"said": {}, "problems": [f"/opt/python ended with {code}: {why} {ADVICE}"]}


SUDO, SU = SimpleNamespace(name="ansible.builtin.sudo", pipelining=True), SimpleNamespace(name="su")
NO_PIPE = SimpleNamespace(name="machinectl", pipelining=False)


def test_become_needs_pipelining():
    for become in (SU, NO_PIPE):
        assert Action(SAID, pipelining=True, become=become).ask({}) == BY_MODULE
    assert Action(SAID, pipelining=True, become=SUDO).ask({})["said"] == {"controller": {"by": "program"}}
    action = Action(SAID, become=SUDO)
    assert action.ask({}) == BY_MODULE
    assert action.commands == []


def test_not_every_connection_has_a_pipe():
    action = Action(SAID)
    action._connection.has_pipelining = False  # paramiko's refuses input
    assert action.ask({}) == BY_MODULE
    assert action.commands == []
    assert Action(SAID, pipelining=None, become=SUDO).ask({}) == BY_MODULE


def test_an_answer_that_is_none_is_told():
    told = Action({"rc": 1, "stderr": "Traceback\nKeyError: 'x'\n"}).ask({})
    assert told == {"said": {}, "problems": [f"python3 ended with 1: KeyError: 'x' {ADVICE}"]}
