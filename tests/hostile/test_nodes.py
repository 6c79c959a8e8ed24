# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes that hang, flood and lie, read beside one that does not: the task ends in time, and only they are lost."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab.hostile import nodes

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
ANSIBLE = Path(sys.executable).with_name("ansible-playbook")
TIMEOUT_S, GRACE_S = 4, 10
FORKS = 10
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Read this host
      lmcache_node_info:
        parts: [controller]
        controller_url: http://127.0.0.1:1
        timeout: {timeout}
        as_text: true
      register: answer
      ignore_errors: true
    - name: Keep what came of it
      ansible.builtin.copy:
        content: "{{{{ answer | to_json }}}}"
        dest: "{folder}/{{{{ inventory_hostname }}}}.json"
        mode: "0600"
      delegate_to: localhost
      vars:
        ansible_python_interpreter: "{python}"
"""
LATE = r"reading this host did not end within 4 s \(kv_reuse_node_timeout\)"
LONG = r"reading this host said more than 32 MB"
#: What the host's task says, where it is not LATE for the first ones, and LONG for the next.
EXPECTED = {
    "leaves a child that holds the pipe": rf"{LATE}|ended with 0: no answer",
    "leaves a child in a session of its own": rf"{LATE}|ended with 0: no answer",
    **dict.fromkeys(
        ["sleeps", "sleeps deaf to signals", "drips", "drips into stderr"],
        LATE,
    ),
    **dict.fromkeys(
        ["prints without end", "prints lines without end", "prints into stderr without end"], f"{LONG}|{LATE}"
    ),
    **dict.fromkeys([name for name in nodes.PROGRAMS if re.search(r"00 MB|40 MB", name)], f"{LONG}|{LATE}"),
    **dict.fromkeys(["prints nothing"], "ended with 0: no answer"),
    "ends with an error": "ended with 3: no answer",
    "is no program": "ended with 127: .*not found",
    "kills itself": "ended with -?[0-9]+: ",
    "prints half an answer": "ended with 0: ",
    "prints no JSON": "ended with 0: ",
    "not even Unicode": "ended with 1: ",
    "says it too deep to read": "ended with 0: ",
    "node is a list": "its node is no object",
    "node is a number": "its node is no object",
    "node is text": "its node is no object",
    "controller is a list": "its controller is no object",
    "other parts": "its exec is no object",
    "problems are objects": "None; 5",
    "a thousand problems": "^(it is broken(; )?){8}$",
    "a problem of a megabyte": "^x{300}$",
    "problems with terminal sequences": r"^\\x9b31m\\u202e\\u2066red$",
    "stderr with terminal sequences": r"ended with 1: \\x9b31m\\u202e\\u2066red",
    "stdout with terminal sequences": r"ended with 1: \\x9b31m\\u202e\\u2066red",
    "templates": r"^\{\{ 7 \* 191 \}\} \{% raw %\}",
}
OTHERWISE = "its answer is not what was asked for"


@pytest.fixture(scope="module")
def read(tmp_path_factory) -> tuple[dict[str, dict], str, float]:
    """(name → the task's result, what the operator saw, seconds)."""
    folder = tmp_path_factory.mktemp("hostile")
    hosts = {f"h{number}": str(path) for number, path in enumerate(nodes.write(folder).values())}
    hosts["healthy"] = sys.executable
    inventory = {"all": {"hosts": {name: {"ansible_python_interpreter": python} for name, python in hosts.items()}}}
    inventory["all"]["vars"] = {"ansible_connection": "local", "ansible_pipelining": True}
    (folder / "hosts.json").write_text(json.dumps(inventory))
    play = PLAY.format(timeout=TIMEOUT_S, folder=folder, python=sys.executable)
    (folder / "play.yml").write_text(play)
    began = time.monotonic()
    done = subprocess.run(
        [str(ANSIBLE), "-i", str(folder / "hosts.json"), "-f", str(FORKS), str(folder / "play.yml"), "-v"],
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"},
        cwd=ROOT,
        capture_output=True,
        timeout=300,
        check=False,
    )
    took = time.monotonic() - began
    shown = (done.stdout + done.stderr).decode("utf-8", "surrogateescape")
    assert done.returncode == 0, shown[-3000:]
    names = dict(zip(hosts, [*nodes.PROGRAMS, "healthy"]))
    return {names[host]: json.loads((folder / f"{host}.json").read_text()) for host in hosts}, shown, took


@pytest.mark.parametrize("name", nodes.PROGRAMS)
def test_what_a_host_that_misbehaves_is_said_to_have_done(read, name):
    answer = read[0][name]
    assert answer["failed"] is True
    assert re.search(EXPECTED.get(name, OTHERWISE), answer["msg"]), answer["msg"][:500]
    assert len(answer["msg"]) < 3000


def test_the_host_beside_them_is_read(read):
    answer = read[0]["healthy"]
    assert not answer.get("failed")
    assert json.loads(answer["seen"])["controller"]["http"]["state"] == "refused"


def test_all_of_them_are_read_in_time(read):
    rounds = len(nodes.PROGRAMS) / FORKS + 1
    assert read[2] < rounds * (TIMEOUT_S + GRACE_S)


def test_nothing_that_they_say_reaches_the_terminal_raw(read):
    raw = [character for character in read[1] if not character.isprintable() and character not in "\n\t"]
    assert raw == []


def test_no_process_of_theirs_is_left(read, tmp_path_factory):
    folder = str(tmp_path_factory.getbasetemp()).encode()
    left = [
        path
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if _has(path, folder) and path.parent.name != str(os.getpid())
    ]
    assert left == []


def _has(path: Path, words: bytes) -> bool:
    try:
        return words + b"/hostile" in path.read_bytes() and b"pytest" not in path.read_bytes()
    except OSError:
        return False
