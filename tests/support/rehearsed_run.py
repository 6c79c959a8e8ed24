# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""validate.yml on a rehearsal cluster of two nodes in one process, whose reports stand below a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml
from rehearsal import ROOT, Stage

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


def validate(folder: Path, changes: dict, *words: str) -> subprocess.CompletedProcess:
    """What validate.yml did, in this folder, with a cluster of these changes that is up for as long."""
    stage = Stage(folder / "fleet", changes)
    spec = folder / "fleet.yml"
    spec.write_text(yaml.safe_dump(stage.members.spec))
    (folder / "hosts.json").write_text(json.dumps(inventory(stage)))
    fleet = subprocess.Popen(
        [sys.executable, "-m", "lab.cluster.members", str(spec)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert json.loads(fleet.stdout.readline())["ready"]
        return play(folder, "-i", "hosts.json", str(ROOT / "validate.yml"), *words)
    finally:
        fleet.terminate()
        fleet.communicate(timeout=30)
