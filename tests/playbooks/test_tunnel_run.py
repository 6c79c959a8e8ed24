# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""validate.yml on a rehearsal cluster whose engines and controller are reached through OpenSSH alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import sshd

pytest.importorskip("paramiko", reason="paramiko is not installed")
pytest.importorskip("aiohttp", reason="the rehearsal's requirements are not installed (lab/rehearsal)")
if not sshd.TOOLS:
    pytest.skip("no sshd, ssh and ssh-keygen here", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[2]

from lab.cluster.cluster import Cluster
from lab.cluster.slots import Slots

PLAYBOOK = Path(sys.executable).parent / "ansible-playbook"
pytestmark = pytest.mark.skipif(not PLAYBOOK.exists(), reason="ansible is not installed beside this Python")


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """A cluster and a server beside each of its members."""
    folder = tmp_path_factory.mktemp("stage")
    with Slots().take() as slot:
        lab = slot.lab(folder / "cluster")
        servers = {name: sshd.Sshd(folder / name, address=at) for name, at in lab.addresses.items()}
        try:
            with Cluster(lab) as cluster:
                yield cluster, servers
        finally:
            for server in servers.values():
                server.close()


def inventory(cluster: Cluster, servers: dict[str, sshd.Sshd]) -> dict:
    def host(name: str, **variables) -> dict:
        return {"hosts": {f"{name}-1": {**servers[name].variables(), **variables}}}

    log = str(cluster.lab.log("{{ inventory_hostname }}"))
    return {
        "kv_prefill": host("prefill"),
        "kv_decode": host("decode"),
        "kv_controller": host("controller", kv_reuse_controller_url=f"http://{cluster.addresses['controller']}:9000"),
        "all": {
            "vars": {
                "kv_reuse_cluster": "behind-ssh",
                "kv_reuse_transport": "ssh",
                "kv_reuse_log": {"file": log},
                "kv_reuse_trials": 1,
            }
        },
    }


def test_a_cluster_behind_ssh_is_proven(stage, tmp_path):
    hosts = tmp_path / "hosts.json"
    hosts.write_text(json.dumps(inventory(*stage)))
    done = subprocess.run(
        [PLAYBOOK, "-i", hosts, "validate.yml", "-e", f"kv_reuse_reports_dir={tmp_path}/reports"],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1",
             "ANSIBLE_HOME": str(tmp_path / "ansible"), "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    pair = json.loads((tmp_path / "reports" / "verdict.json").read_text())["clusters"][0]["pairs"][0]
    assert pair["verdict"] == "pass"
    assert {link["state"] for link in pair["links"][:12]} <= {"holds", "holds (inferred)"}
    servers = stage[1]
    assert {role: seen["via"] for role, seen in pair["tunnels"].items()} == {
        role: [f"{sshd.USER}@{servers[name].address}:{servers[name].port}"]
        for role, name in (("holder", "prefill"), ("receiver", "decode"))
    }
    assert "part of each time above and not subtracted" in done.stdout
    assert 'kv_reuse_tunnel_rtt_seconds{cluster="behind-ssh"' in (tmp_path / "reports" / "kv_reuse.prom").read_text()
