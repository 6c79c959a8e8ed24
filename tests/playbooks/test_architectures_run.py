# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""One inventory with a cluster of every architecture: each is judged by its own rules in one run, with all defaults."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

pytest.importorskip("aiohttp", reason="the rehearsal's requirements are not installed (lab/rehearsal)")
pytest.importorskip("cbor2", reason="the rehearsal's requirements are not installed (lab/rehearsal)")

import requests

from lab.cluster.cluster import Cluster
from lab.cluster.slots import Slots

ROOT = Path(__file__).resolve().parents[2]
ARCHITECTURES = ("inprocess_p2p", "lmcache_pd", "mp", "nixl_pd")
REGISTRIES = {"inprocess_p2p": "kv_controller", "mp": "kv_coordinator"}
WITNESSES = {  # of link 10, each architecture's own
    "inprocess_p2p": "was asked",
    "lmcache_pd": "pushed by",
    "mp": "from a peer (L2)",
    "nixl_pd": "read",
}


def inventory(clusters: dict[str, Cluster]) -> dict:
    groups: dict[str, dict] = {}
    for name, cluster in clusters.items():
        urls = {role: f"http://{cluster.addresses[role]}:8000" for role in ("prefill", "decode")}
        for role, url in urls.items():
            host = {"kv_reuse_url": url, "kv_reuse_cluster": name, "ansible_connection": "local"}
            groups.setdefault(f"kv_{role}", {"hosts": {}})["hosts"][f"{name}-{role}"] = host
        if name in REGISTRIES:
            variable = "kv_reuse_controller_url" if name == "inprocess_p2p" else "kv_reuse_coordinator_url"
            host = {variable: cluster.controller_url, "kv_reuse_cluster": name, "ansible_connection": "local"}
            groups[REGISTRIES[name]] = {"hosts": {f"{name}-registry": host}}
    return groups


@pytest.fixture(scope="module")
def clusters(tmp_path_factory):
    slots = Slots()
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(
                Cluster(stack.enter_context(slots.take()).lab(tmp_path_factory.mktemp(name), name))
            )
            for name in ARCHITECTURES
        }


@pytest.fixture(scope="module")
def run(clusters, tmp_path_factory) -> tuple[int, dict]:
    folder = tmp_path_factory.mktemp("run")
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory(clusters)))
    command = [Path(sys.executable).parent / "ansible-playbook", "-i", folder / "hosts.yml", ROOT / "validate.yml"]
    python = f"ansible_python_interpreter={sys.executable}"
    done = subprocess.run(
        [*command, "-e", f"kv_reuse_reports_dir={folder}/reports", "-e", python],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (folder / "reports" / "verdict.json").exists(), done.stdout + done.stderr
    return done.returncode, json.loads((folder / "reports" / "verdict.json").read_text())


def test_all_of_them_pass(run):
    code, document = run
    verdicts = {cluster["name"]: cluster["verdict"] for cluster in document["clusters"]}
    assert verdicts == dict.fromkeys(ARCHITECTURES, "pass")
    assert (code, document["status"]) == (0, "complete")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_each_is_proven_by_its_own_witnesses(run, architecture):
    pair = next(cluster for cluster in run[1]["clusters"] if cluster["name"] == architecture)["pairs"][0]
    transfer = next(link for link in pair["links"] if link["link"] == 10)
    assert transfer["state"] == "holds"
    assert WITNESSES[architecture] in transfer["text"]


def test_a_sender_of_lmcache_pd_is_alive_after_it(run, clusters):
    for role in ("prefill", "decode"):
        url = f"http://{clusters['lmcache_pd'].addresses[role]}:8000/health"
        assert requests.get(url, timeout=5).status_code == 200
