# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""A cluster's evidence, gathered by the very functions the Ansible modules call, in the playbook's order."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kvproof
from kvproof.evidence import assemble
from kvproof.node.controller import gather as controller_document
from kvproof.node.engine import gather as node_document
from kvproof.probe.engine import EngineSettings
from kvproof.probe.inprocess_p2p import InProcessP2P
from kvproof.probe.options import Settings, new_run_id

if TYPE_CHECKING:
    from lab.cluster.cluster import Cluster

ROLES = {"holder": "prefill", "receiver": "decode"}
#: the experiment's settings, which are the playbook's variables without kv_reuse_
SETTINGS = ("trials", "chunks", "chunk_size", "max_tokens", "lengths")
#: everything is loaded before the privileges go: another user may not read the tree
_AS_NOBODY = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from kvproof.node.engine import gather
asked = json.loads(sys.argv[2])
if os.geteuid() == 0:
    gather(**asked)  # loads what is loaded late
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
print(json.dumps(gather(**asked)))
"""


def evidence(cluster: Cluster) -> dict[str, Any]:
    """``kvproof.evidence/1``: the experiment, then both nodes and the controller."""
    told = cluster.plan.get("validate") or {}
    settings = {name: told[f"kv_reuse_{name}"] for name in SETTINGS if f"kv_reuse_{name}" in told}
    run = new_run_id()
    engines = {role: _engine(cluster, role) for role in ROLES}
    probe = InProcessP2P(Settings(run_id=run, **settings), engines["holder"], engines["receiver"],
                       cluster.controller_url).run()  # fmt: skip
    nodes: dict[str, Any] = {role: {} for role in ROLES}
    if told.get("kv_reuse_nodes", True):
        nodes = {role: {"node": _node(cluster, role, run, probe)} for role in ROLES}
    controllers = [("controller-1", {"controller": controller_document(url=cluster.controller_url)})]
    pair = {"cluster": "rehearsal", "holder": "prefill-1", "receiver": "decode-1"}
    found = assemble.pair_evidence(pair, "inventory", probe, nodes, controllers)
    return json.loads(json.dumps(found, default=str))


def _told(cluster: Cluster, name: str) -> dict[str, Any]:
    """The playbook's variables for one engine: those for all, then its own."""
    return {**(cluster.plan.get("validate") or {}), **((cluster.plan.get(name) or {}).get("validate") or {})}


def _engine(cluster: Cluster, role: str) -> EngineSettings:
    name = ROLES[role]
    told = _told(cluster, name)
    return EngineSettings(role, f"{name}-1", told.get("kv_reuse_url", f"http://{cluster.addresses[name]}:8000"),
                          told.get("kv_reuse_metrics_url"), told.get("kv_reuse_model"))  # fmt: skip


def _node(cluster: Cluster, role: str, run: str, probe: dict[str, Any]) -> dict[str, Any]:
    name = ROLES[role]
    told = _told(cluster, name)
    asked = {
        "port": 8000, "host": cluster.addresses[name],
        "log": told.get("kv_reuse_log", {"file": str(cluster.folder / f"{name}.log")}),
        "ids": assemble.wanted_ids(probe, role), "run_marker": f"kvp-{run}", "since": probe["started_at"],
        "peers": assemble.peers_listed(probe), "controller_url": cluster.controller_url,
    }  # fmt: skip
    return _as_another_user(asked) if "ssh_user" in cluster.plan else node_document(**asked)


def _as_another_user(asked: dict[str, Any]) -> dict[str, Any]:
    """What a login user sees who may read the log and not the process: nobody where root runs this."""
    core = Path(kvproof.__file__).parents[1]
    command = [sys.executable, "-c", _AS_NOBODY, str(core), json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, check=True, text=True, cwd="/")
    return json.loads(done.stdout)
