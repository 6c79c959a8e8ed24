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


def test_the_places_are_an_inventory_of_three_clusters(tmp_path):
    """In check mode, which sends nothing."""
    environment = {**os.environ, "ANSIBLE_HOME": str(tmp_path / ".ansible")}
    command = [PLAYBOOK, "-i", EXAMPLES / "places", "--check", "-e", "kv_reuse_nodes=false", ROOT / "validate.yml"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    verdict = json.loads((tmp_path / "reports" / "verdict.json").read_text(encoding="utf-8"))
    pairs = {cluster["name"]: [pair["receiver"] for pair in cluster["pairs"]] for cluster in verdict["clusters"]}
    assert {name: sorted(names) for name, names in pairs.items()} == {
        "units": ["bastion-2", "unit-2"],
        "containers": ["container-2"],
        "insides": ["inside-2"],
    }


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


def pod(name: str, app: str, ip: str | None, cluster: str = "tokyo", phase: str = "Running") -> dict:
    """As `kubectl get pods -o json` has it, of the fields that most pods have."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "llm", "labels": {"app": app, "kvproof/cluster": cluster}, "uid": "0"},
        "spec": {"containers": [{"name": "vllm", "image": "vllm"}], "nodeName": "gpu-1"},
        "status": {"phase": phase, **({"podIP": ip} if ip else {}), "conditions": []},
    }


PODS = [
    pod("prefill-0", "vllm-prefill", "10.1.0.4"),
    pod("decode-0", "vllm-decode", "10.1.0.5"),
    pod("decode-1", "vllm-decode", None, phase="Pending"),
    pod("controller-0", "lmcache-controller", "10.1.0.6"),
    pod("prefill-osaka-0", "vllm-prefill", "10.2.0.4", "osaka"),
    pod("gateway-0", "gateway", "10.1.0.9"),
]


def pods_inventory(tmp_path: Path, kubectl: str) -> subprocess.CompletedProcess:
    """ansible-inventory --list of examples/pods with a stand-in for kubectl."""
    stand_in = tmp_path / "kubectl"
    stand_in.write_text(kubectl)
    stand_in.chmod(0o755)
    environment = {**os.environ, "KUBECTL": str(stand_in), "ANSIBLE_HOME": str(tmp_path / ".ansible")}
    command = [PLAYBOOK.with_name("ansible-inventory"), "-i", EXAMPLES / "pods", "--list"]
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)


def test_labels_of_pods_become_groups_clusters_and_addresses(tmp_path):
    (tmp_path / "pods.json").write_text(json.dumps({"items": PODS}))
    done = pods_inventory(
        tmp_path, f'#!/bin/sh\n[ "$*" = "get pods -A -l kvproof/cluster -o json" ] && cat {tmp_path}/pods.json\n'
    )
    listed = json.loads(done.stdout)
    groups = {name: listed[name]["hosts"] for name in ("kv_prefill", "kv_decode", "kv_controller")}
    assert groups == {
        "kv_prefill": ["prefill-0", "prefill-osaka-0"],
        "kv_decode": ["decode-0"],
        "kv_controller": ["controller-0"],
    }
    known = listed["_meta"]["hostvars"]
    assert {name: its["kv_reuse_cluster"] for name, its in known.items()} == {
        **dict.fromkeys(("prefill-0", "decode-0", "controller-0", "gateway-0"), "tokyo"),
        "prefill-osaka-0": "osaka",
    }
    assert known["controller-0"]["kv_reuse_controller_url"] == "http://{{ pod.ip }}:9000"
    told = {name for its in known.values() for name in its if name.startswith("kv_reuse_")}
    assert told <= options("roles/kv_reuse/meta/argument_specs.yml")


def test_pods_that_cannot_be_asked_for_are_one_sentence(tmp_path):
    done = pods_inventory(tmp_path, "#!/bin/sh\necho 'connection refused' >&2; exit 1\n")
    assert "gave no pods: connection refused" in done.stderr
    assert "Traceback" not in done.stderr
