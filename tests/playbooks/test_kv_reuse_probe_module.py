# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module run by Ansible itself, in place."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fake_engine import CHUNK, FakeCluster

ROOT = Path(__file__).resolve().parents[2]
ANSIBLE = Path(sys.executable).parent / "ansible"

pytestmark = pytest.mark.skipif(not ANSIBLE.exists(), reason="ansible is not installed beside this Python")


@pytest.fixture(scope="module")
def cluster():
    made = FakeCluster()
    yield made
    made.close()


def module(cluster, changes, *options):
    """Return code, the task's result and everything that was printed."""
    args = {
        "holder": {"name": "p1", "url": cluster.prefill.url},
        "receiver": {"name": "d1", "url": cluster.decode.url},
        "controller_url": cluster.controller.url,
        "chunk_size": CHUNK,
        "trials": 1,
        **changes,
    }
    done = ansible("ansible", "localhost", "-m", "kv_reuse_probe", "-a", json.dumps(args), *options)
    result = re.search(r"^localhost \| \S+ => (\{.*)", done.stdout, re.S | re.M).group(1)
    return done.returncode, json.JSONDecoder().raw_decode(result)[0], done.stdout + done.stderr


def ansible(program, *arguments):
    """Runs one of Ansible's programs with the tree's module in place."""
    done = subprocess.run(
        [str(ANSIBLE.parent / program), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={
            **os.environ,
            "ANSIBLE_LIBRARY": str(ROOT / "library"),
            "ANSIBLE_MODULE_UTILS": str(ROOT / "module_utils"),
            "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
            "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1",
            "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.minimal",
            "ANSIBLE_NOCOLOR": "1",
        },
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done


def test_a_probe(cluster):
    code, result, output = module(
        cluster,
        {
            "cluster": "demo",
            "receiver": {
                "name": "d1",
                "url": cluster.decode.url + "/v1",
                "api_key": "sk-very-secret",
                "headers": {"X-Shard": "1", "X-Tenant": "tenant-secret"},
            },
        },
    )
    assert code == 0
    assert result["changed"] is False
    probe = result["probe"]
    assert (probe["schema"], probe["cluster"], probe["skipped"]) == ("kvproof.probe/1", "demo", None)
    assert probe["trials"][0]["reuse"]["cached_tokens"] == probe["trials"][0]["expected_hit"]
    assert cluster.decode.requests[-1][2]["X-Shard"] == "1"
    assert "secret" not in output


def test_check_mode_sends_nothing(cluster):
    before = len(cluster.prefill.requests) + len(cluster.decode.requests) + len(cluster.controller.requests)
    code, result, _output = module(cluster, {}, "--check")
    assert code == 0
    assert result["probe"]["skipped"] == "check mode"
    assert result["probe"]["engines"]["holder"]["reachable"] is None
    assert before == len(cluster.prefill.requests) + len(cluster.decode.requests) + len(cluster.controller.requests)


def test_a_cluster_that_is_down_does_not_fail_the_task(cluster):
    code, result, _output = module(
        cluster, {"receiver": {"name": "d1", "url": "http://127.0.0.1:9"}, "controller_url": "http://127.0.0.1:9"}
    )
    assert code == 0
    assert result["probe"]["engines"]["receiver"]["reachable"] is False
    assert result["probe"]["controller"]["http"]["state"] == "refused"


BAD_INPUT = [
    ({"holder": {"name": "p1", "url": "node-1:8000"}}, "holder.url 'node-1:8000' does not begin with http://"),
    ({"controller_url": "tcp://c:9000"}, "controller_url 'tcp://c:9000' does not begin"),
    ({"trials": 0}, "trials is 0: give 1 or more"),
    ({"deadline": 0}, "deadline is 0.0: give a number"),
    ({"wait": -1}, "wait is -1.0: give a number"),
    ({"run_id": "a b"}, "run_id is 'a b': give 4 to 40 letters and digits"),
    ({"receiver": {"name": "d1", "url": "http://d1:1", "ca_cert": "/no/such.pem"}}, "receiver.ca_cert /no/such.pem is"),
    ({"receiver": {"name": "d1", "url": "http://d1:1", "api_key": "sk\nX: y"}}, "receiver has a header or key"),
]


def test_bad_input_is_one_clear_sentence(tmp_path):
    good = {"holder": {"name": "p1", "url": "http://p1:1"}, "receiver": {"name": "d1", "url": "http://d1:1"}}
    tasks = [
        {"kv_reuse_probe": {**good, **changes}, "register": f"bad{at}", "ignore_errors": True}
        for at, (changes, _says) in enumerate(BAD_INPUT)
    ]
    wanted = ", ".join(f"bad{at}" for at in range(len(BAD_INPUT)))
    tasks.append(
        {
            "ansible.builtin.copy": {
                "content": "{{ [" + wanted + "] | to_json }}",
                "dest": str(tmp_path / "results.json"),
            }
        }
    )
    playbook = tmp_path / "bad.yml"
    playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    done = ansible("ansible-playbook", str(playbook))
    assert done.returncode == 0
    for result, (_changes, says) in zip(json.loads((tmp_path / "results.json").read_text()), BAD_INPUT):
        assert result["failed"]
        assert result["msg"].startswith(says)
        assert "\n" not in result["msg"]
