# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""A cluster's evidence, gathered by the very functions the Ansible modules call, in the playbook's order."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvproof.evidence import assemble
from kvproof.node import controller, engine, multiprocess
from kvproof.probe import choice, router
from kvproof.probe.document import empty_router
from kvproof.probe.engine import EngineSettings
from kvproof.probe.inprocess_p2p import InProcessP2P
from kvproof.probe.options import RECOGNISED, Settings, new_run_id
from kvproof.stack import architectures, disagg
from kvproof.stack.architectures import LMCACHE_PD, MP, NIXL_PD

from lab.cluster.fault import variables

if TYPE_CHECKING:
    from lab.cluster.cluster import Cluster

PAIR = {"cluster": "rehearsal", "holder": "prefill-1", "receiver": "decode-1"}
ROLES = {"holder": "prefill", "receiver": "decode"}
#: the experiment's settings, which are the playbook's variables without kv_reuse_
SETTINGS = ("trials", "chunks", "chunk_size", "max_tokens", "lengths", "source")
#: everything is loaded before the privileges go: another user may not read the tree
_AS_NOBODY = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from kvproof.node import engine
arguments = json.loads(sys.argv[2])
if os.geteuid() == 0:
    engine.gather(**arguments)  # loads what is loaded late
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
print(json.dumps(engine.gather(**arguments)))
"""


def evidence(cluster: Cluster) -> dict[str, Any]:
    """``kvproof.evidence/1``: the experiment, then both nodes and the controller."""
    told = cluster.fault.get("validate") or {}
    settings = {name: told[f"kv_reuse_{name}"] for name in SETTINGS if f"kv_reuse_{name}" in told}
    run, url = new_run_id(), cluster.controller_url
    if cluster.lab.architecture in (MP, NIXL_PD, LMCACHE_PD):
        return _evidence_after_a_look(cluster, Settings(run_id=run, coordinator_url=url, **settings))
    engines = [_engine(cluster, role) for role in ROLES]
    probe = InProcessP2P(Settings(run_id=run, **settings), *engines, url).run()
    probe["router"] = _through_router(cluster, probe)
    nodes: dict[str, Any] = {role: {} for role in ROLES}
    if told.get("kv_reuse_nodes", True):
        nodes = _nodes(cluster, run, probe)
    others = [("controller", "controller-1", {"controller": controller.gather(url=url)})]
    document = assemble.pair_evidence(PAIR, "inventory", probe, nodes, others, source=settings.get("source"))
    return json.loads(json.dumps(document, default=str))


def _evidence_after_a_look(cluster: Cluster, settings: Settings) -> dict[str, Any]:
    """Where nodes have to be looked at before anything is sent.  In MP mode a coordinator stands for the controller."""
    run, url, is_mp = settings.run_id, cluster.controller_url, cluster.lab.architecture == MP
    looked = {"ids": [], "since": time.time(), "peers": []}
    before = {role: _node(cluster, role, run, looked) for role in ROLES}
    if cluster.lab.architecture == LMCACHE_PD:
        targets = disagg.targets_of(disagg.spec_of(before["receiver"]))
        sender = {**before["holder"], **engine.gather(only=["dials"], peers=targets)}
        settings = replace(settings, disagg=disagg.known(sender, before["receiver"], ("prefill-1", "decode-1")))
    sides = [
        replace(
            _engine(cluster, role),
            mp_url=f"http://{cluster.addresses[name]}:8080" if is_mp else None,
            mp_instances=architectures.mp_instances(before[role]),
            recognised=dict(zip(RECOGNISED, architectures.of_node(before[role]))),
        )
        for role, name in ROLES.items()
    ]
    probe = choice.run(settings, *sides, None)
    probe["router"] = _through_router(cluster, probe)
    nodes = _nodes(cluster, run, probe)
    others = [("coordinator", "coordinator-1", {"coordinator": multiprocess.coordinator(url=url)})] if is_mp else []
    document = assemble.pair_evidence(PAIR, "inventory", probe, nodes, others)
    return json.loads(json.dumps(document, default=str))


def _through_router(cluster: Cluster, probe: dict[str, Any]) -> dict[str, Any] | None:
    url = (cluster.fault.get("validate") or {}).get("kv_reuse_router_url")
    if not url:
        return None
    why = router.withheld([probe], [])
    if why:
        return empty_router(url, why)
    engines = {engine.name: engine for engine in (_engine(cluster, role) for role in ROLES)}
    return router.RouterProbe(EngineSettings("router", "router", url), engines, [probe], probe["run_id"]).run()


def _engine(cluster: Cluster, role: str) -> EngineSettings:
    name = ROLES[role]
    told = variables(cluster.fault, name)
    url = told.get("kv_reuse_url", f"http://{cluster.addresses[name]}:8000")
    return EngineSettings(role, f"{name}-1", url, told.get("kv_reuse_metrics_url"), told.get("kv_reuse_model"))


def _nodes(cluster: Cluster, run: str, probe: dict[str, Any]) -> dict[str, Any]:
    wanted = assemble.requests_of([{"pair": PAIR, "probe": probe}])
    return {role: {"node": _node(cluster, role, run, wanted[PAIR[role]])} for role in ROLES}


def _node(cluster: Cluster, role: str, run: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """wanted: ids, since and peers, as lmcache_node_info takes them."""
    name = ROLES[role]
    arguments = {
        "port": 8000,
        "host": cluster.addresses[name],
        "log": variables(cluster.fault, name).get("kv_reuse_log", {"file": str(cluster.log(name))}),
        "run_marker": f"kvp-{run}",
        **wanted,
        "controller_url": cluster.controller_url,
    }
    return _as_another_user(arguments) if "ssh_user" in cluster.fault else engine.gather(**arguments)


def _as_another_user(arguments: dict[str, Any]) -> dict[str, Any]:
    """What a login user sees who may read the log and not the process: nobody where root runs this."""
    core = Path(engine.__file__).parents[2]
    command = [sys.executable, "-c", _AS_NOBODY, str(core), json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, check=True, text=True, cwd="/")
    return json.loads(done.stdout)
