# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts what the tasks of a run registered together into one evidence document per pair.

Evidence goes from task to task as JSON text: as Ansible's own containers it would take ten times the memory, for every
host until the end of the run, and each look at it would search every string for templates.
"""

from __future__ import annotations

import json

from .. import __version__
from ..plan.pair import key_of


def pair_evidence(
    pair: dict, mode: str, probe: dict | None, nodes: dict, controllers: list[tuple], *, limits: dict | None = None
) -> dict:
    """``kvproof.evidence/1`` of one pair.

    nodes: "holder" and "receiver" → the registered result of the node task (``node`` or ``log`` in it, or
    ``unreachable``), an empty dict where it did not run.  controllers: (inventory name, registered result).
    limits: "min_speedup" and "max_ttft_ms" that the operator set, None where not.
    """
    return {
        "schema": "kvproof.evidence/1",
        "tool": __version__,
        "cluster": pair["cluster"],
        "mode": mode,
        "architecture": "inprocess_p2p",
        "pair": {"holder": pair["holder"], "receiver": pair["receiver"]},
        "limits": limits,
        "probe": probe,
        "nodes": {role: node_of(nodes[role]) for role in ("holder", "receiver")},
        "controllers": [c for c in (controller_of(name, result) for name, result in controllers) if c],
    }


def probed(pairs: list[dict], task_vars: dict) -> dict[tuple, dict]:
    """Key of a pair → {"pair", "probe", "problem"}, of all pairs of their clusters, as kv_reuse_rounds found it."""
    answers = (task_vars.get("kv_reuse_probed") or {}).get("answers") or {}
    clusters = dict.fromkeys(pair["cluster"] for pair in pairs)
    return {key_of(one["pair"]): one for name in clusters for one in json.loads(answers.get(name) or "[]")}


def packed(said: object) -> str:
    """JSON text of evidence, in plain types (Ansible hands over lazy, tagged containers)."""
    return json.dumps(said, default=str, separators=(",", ":"))


def options(task_vars: dict, host: str) -> dict:
    """The role's variables of a host, as kv_reuse_options checked them; {} where it found them wrong, or never ran."""
    return json.loads(_checked(task_vars, "options").get(host) or "{}")


def refused(task_vars: dict) -> dict[str, str]:
    """Host → what is wrong with its variables."""
    return dict(_checked(task_vars, "refused"))


def seen(hostvars, host: str) -> dict:
    """What kv_reuse_evidence saw on a host: ``node``, ``controller``, ``log``, or how it failed; {} where it was
    skipped or never ran."""
    result = hostvars.raw_get(host).get("kv_reuse_seen") or {}  # not templated: results hold no templates
    return {} if result.get("skipped") else {**result, **json.loads(result.get("seen") or "{}")}


def _checked(task_vars: dict, what: str) -> dict[str, str]:
    return (task_vars.get("kv_reuse_options") or {}).get(what) or {}


def node_of(result: dict) -> dict | None:
    """NODE of a registered result; a host where the task could not run becomes a NODE that says so."""
    if result.get("node"):
        return dict(result["node"])
    if result.get("log"):
        return {"schema": "kvproof.node/1", "ssh": "not-used", "log": dict(result["log"])}
    lost = _lost(result)
    return {"schema": "kvproof.node/1", "ssh": lost, "ssh_reason": _sentence(result.get("msg"))} if lost else None


def controller_of(name: str, result: dict) -> dict | None:
    """CONTROLLER of a registered result, named after its inventory host."""
    if result.get("controller"):
        return dict(result["controller"], name=name)
    return {"schema": "kvproof.controller/1", "name": name, "ssh": _lost(result)} if _lost(result) else None


def _lost(result: dict) -> str | None:
    return "unreachable" if result.get("unreachable") else "failed" if result.get("failed") else None


def wanted_ids(probes: list[dict], role: str) -> list[str]:
    """Response ids that the log of a holder or receiver should show."""
    found = []
    for probe in probes:
        for trial in (probe or {}).get("trials") or []:
            request = trial.get("seed" if role == "holder" else "reuse") or {}
            if request.get("response_id"):
                found.append(request["response_id"])
    return found


def peers_listed(probes: list[dict]) -> list[dict]:
    """Addresses of peers that the controller lists, as lmcache_node_info dials them."""
    found = {}
    for probe in probes:
        for worker in ((probe or {}).get("controller") or {}).get("workers") or []:
            if worker.get("peer_init_url"):
                found[worker["peer_init_url"]] = {"to": worker["peer_init_url"], "why": "peer-init"}
    return list(found.values())


def _sentence(text) -> str:
    return " ".join(str(text or "no reason given").split())[:300].rstrip(".")
