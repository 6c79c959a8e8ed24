# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in examples/, held to the code that it names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytest.importorskip("ansible")

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
PLAYBOOK = Path(sys.executable).parent / "ansible-playbook"


def options(path: str) -> set[str]:
    return set(yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))["argument_specs"]["main"]["options"])


def test_every_example_has_its_row():
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for path in EXAMPLES.iterdir():
        assert path.name == "README.md" or f"| `{path.name}` |" in page


def test_the_workflow_has_every_shard_once_and_a_merge_after_all(tmp_path):
    (play,) = yaml.safe_load((EXAMPLES / "awx_workflow.yml").read_text(encoding="utf-8"))
    for task in play["tasks"]:  # what AWX's modules would be told
        (module,) = [name for name in task if name.startswith("awx.awx.")]
        told = {"module": module.rpartition(".")[2], **task.pop(module)}
        name = told.get("identifier") or told["name"]
        task["ansible.builtin.copy"] = {"content": told, "dest": f"{tmp_path}/{told['module']}-{name}.json"}
    (tmp_path / "site.yml").write_text(yaml.safe_dump([play]), encoding="utf-8")
    environment = {**os.environ, "ANSIBLE_HOME": str(tmp_path / ".ansible")}
    subprocess.run([PLAYBOOK, "site.yml"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    told = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(tmp_path.glob("*.json"))]
    nodes = {one["identifier"]: one for one in told if one["module"] == "workflow_job_template_node"}
    shards = [one for name, one in nodes.items() if name != "merge"]
    assert [one["extra_data"]["kv_reuse_shard"] for one in shards] == ["1/3", "2/3", "3/3"]
    assert len({one["extra_data"]["kv_reuse_reports_dir"] for one in shards}) == 3
    for one in shards:
        assert set(one["extra_data"]) <= options("roles/kv_reuse/meta/argument_specs.yml")
        assert one["always_nodes"] == ["merge"]
        assert one["extra_data"]["kv_reuse_reports_dir"].startswith("/reports/{{ awx_workflow_job_id }}/")
    assert nodes["merge"]["all_parents_must_converge"] is True
    assert nodes["merge"]["extra_data"]["reports"] == ["/reports/{{ awx_workflow_job_id }}/*"]
    for one in told:
        assert one["module"] != "job_template" or (ROOT / one["playbook"]).is_file()


def test_the_execution_environment_installs_this_version():
    galaxy = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))
    archive = f"{galaxy['namespace']}-{galaxy['name']}-{galaxy['version']}.tar.gz"
    given = yaml.safe_load((EXAMPLES / "execution-environment.yml").read_text(encoding="utf-8"))
    assert given["dependencies"]["galaxy"]["collections"] == [{"name": archive, "type": "file"}]
    assert given["additional_build_files"] == [{"src": archive, "dest": "configs"}]
    assert (EXAMPLES / given["dependencies"]["python"]).resolve() == ROOT / "requirements.txt"
