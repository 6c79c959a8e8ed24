"""A run on a rehearsal cluster that writes a bundle, judged again without the cluster: to the same bytes."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rehearsal import ROOT, Stage

pytest.importorskip("ansible")

PLAYBOOK = [sys.executable, "-m", "ansible", "playbook"]
KEY, HEADER = "kvp-test-key-0123", "tenant-header-0123"


def play(folder: Path, *words: str) -> subprocess.CompletedProcess:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "KV_REUSE_", "PREFILL_", "DECODE_"))}
    environment = {**kept, "ANSIBLE_HOME": str(folder / ".ansible"), "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        [*PLAYBOOK, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=180, check=False
    )


def inventory(stage: Stage) -> dict:
    def host(name: str) -> dict:
        return {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "kv_reuse_cluster": "bundled",
            "kv_reuse_url": f"http://{stage.addresses[name]}:8000",
            "kv_reuse_controller_url": f"http://{stage.addresses['c']}:9000",
            "kv_reuse_log": {"file": str(stage.folder / f"{name}.log")},
            "kv_reuse_config_file": str(stage.folder / f"{name}.yaml"),
            "kv_reuse_api_key": KEY,
            "kv_reuse_headers": {"X-Tenant": HEADER},
        }

    groups = {"kv_prefill": {"hosts": {"node-p": host("p")}}, "kv_decode": {"hosts": {"node-d": host("d")}}}
    return {"all": {"children": groups}}


@pytest.fixture
def run(tmp_path):
    """Validates a fleet with these changes; what the playbook did, with its reports below tmp_path."""

    def validate(changes: dict, *words: str) -> subprocess.CompletedProcess:
        stage = Stage(tmp_path / "fleet", changes)
        spec = tmp_path / "fleet.yml"
        spec.write_text(yaml.safe_dump(stage.members.spec))
        (tmp_path / "hosts.json").write_text(json.dumps(inventory(stage)))
        fleet = subprocess.Popen(
            [sys.executable, "-m", "lab.cluster.members", str(spec)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert json.loads(fleet.stdout.readline())["ready"]
            return play(tmp_path, "-i", "hosts.json", str(ROOT / "validate.yml"), "-e", "kv_reuse_bundle=true", *words)
        finally:
            fleet.terminate()
            fleet.communicate(timeout=30)

    return validate


@pytest.mark.parametrize(
    ("changes", "code", "verdict"),
    [({}, 0, "pass"), ({"d": {"lmcache": {"enable_p2p": False}}}, 2, "fail")],
    ids=["pass", "fail"],
)
def test_a_bundle_is_judged_to_the_same_bytes(run, tmp_path, changes, code, verdict):
    waive = json.dumps({"kv_reuse_waive": [{"finding": "chunk-size-differs", "reason": "ours", "until": "2099-01-31"}]})
    done = run(changes, "-e", waive)
    assert done.returncode == code, done.stdout + done.stderr
    report = (tmp_path / "reports" / "verdict.json").read_bytes()
    assert json.loads(report)["verdict"] == verdict

    again = play(tmp_path, str(ROOT / "playbooks" / "diagnose.yml"), "-e", "bundle=reports/bundle.json.gz")
    assert again.returncode == code, again.stdout + again.stderr
    assert (tmp_path / "reports" / "diagnosis" / "verdict.json").read_bytes() == report
    assert "the same verdict.json as the run's, byte for byte" in " ".join(again.stdout.split())

    text = gzip.decompress((tmp_path / "reports" / "bundle.json.gz").read_bytes()).decode()
    assert json.loads(text)["said"][-1]["what"] in ("judged", "failure")
    for secret in (KEY, HEADER):
        assert secret not in text
