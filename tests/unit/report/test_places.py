# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a project's inventory names its hosts, which code quality and SARIF point at."""

from __future__ import annotations

import pytest

from plugin_utils import places

YAML = """\
# gpu-12 is new
kv_prefill:
  hosts:
    gpu-11: {kv_reuse_url: "http://10.0.0.11:8000"}
kv_decode:
  hosts:
    gpu-12.example.com: {}   # gpu-13
    'gpu-13':
"""
INI = """\
; gpu-12
[kv_decode]
gpu-12 ansible_host=10.0.0.12
gpu-13:2222
gpu-[14:19]
"""


def of(project, text, *hosts, name="hosts"):
    (project / "inventory").mkdir(exist_ok=True)
    path = project / "inventory" / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    hostvars = {host: {"inventory_file": str(path)} for host in hosts}
    found = places.of_hosts(hosts, hostvars, project / "reports", {"CI_PROJECT_DIR": str(project)})
    return {host: (place["path"], place["line"]) for host, place in found["hosts"].items()}


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (YAML, {"gpu-11": 4, "gpu-12.example.com": 7, "gpu-13": 8}),
        (INI, {"gpu-12": 3, "gpu-13": 4, "gpu-15": 1}),
        (b"\xff\xfe", {"gpu-12": 1}),
    ],
    ids=["yaml", "ini", "no text"],
)
def test_the_line_is_the_first_that_names_the_host(tmp_path, text, lines):
    assert of(tmp_path, text, *lines) == {host: ("inventory/hosts", line) for host, line in lines.items()}


def test_a_host_of_no_file_of_the_project_has_no_place(tmp_path):
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    project.mkdir()
    elsewhere.write_text(INI)
    hostvars = {"gpu-12": {"inventory_file": str(elsewhere)}, "plugged": {"inventory_file": None}, "gone": {}}
    hosts = [*hostvars, "unknown"]
    found = places.of_hosts(hosts, hostvars, project / "reports", {"GITHUB_WORKSPACE": str(project)})
    assert found == {"hosts": {}, "otherwise": "reports/summary.md"}


def test_without_a_runner_the_project_is_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hosts").write_text(INI)
    found = places.of_hosts(["gpu-12"], {"gpu-12": {"inventory_file": "hosts"}}, tmp_path.parent / "reports", {})
    assert found == {"hosts": {"gpu-12": {"path": "hosts", "line": 3}}, "otherwise": "summary.md"}
