# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts what the tasks of a run returned together into one evidence document per pair.

Evidence goes from task to task as JSON text: as Ansible's own containers it would take ten times the memory, for every
host until the end of the run, and each look at it would search every string for templates.
"""

from __future__ import annotations

import json

from .. import __version__
from ..stack.disagg import targets_of

#: What a host that is no engine may be → its list in the evidence, and the schema of an entry.
OTHERS = {
    "controller": ("controllers", "kvproof.controller/1"),
    "coordinator": ("coordinators", "kvproof.coordinator/1"),
    "cache_server": ("cache_servers", "kvproof.cache_server/1"),
}


def pair_evidence(
    pair: dict,
    mode: str,
    probe: dict | None,
    nodes: dict,
    others: list[tuple],
    *,
    limits: dict | None = None,
    source: str | None = None,
) -> dict:
    """``kvproof.evidence/1`` of one pair.

    nodes: "holder" and "receiver" → the registered result of the node task (``node`` or ``log`` in it, or
    ``unreachable``), an empty dict where it did not run.  others: (a key of OTHERS, inventory name, registered result)
    of the cluster's hosts that are no engines.
    limits: "min_speedup" and "max_ttft_ms" that the operator set, None where not.  source: "p2p" or "any", from where
    KV may come; None is "p2p".
    """
    return {
        "schema": "kvproof.evidence/1",
        "tool": __version__,
        "cluster": pair["cluster"],
        "mode": mode,
        "architecture": (probe or {}).get("architecture"),
        "pair": {"holder": pair["holder"], "receiver": pair["receiver"]},
        "limits": limits,
        "source": source,
        "probe": probe,
        "nodes": {role: node_of(nodes[role]) for role in ("holder", "receiver")},
        **{
            part: [
                document for kind, name, result in others if kind == role and (document := other_of(kind, name, result))
            ]
            for role, (part, _schema) in OTHERS.items()
        },
    }


def packed(evidence: object) -> str:
    """JSON text of evidence, in plain types (Ansible hands over lazy, tagged containers)."""
    return json.dumps(evidence, default=str, separators=(",", ":"))


def seen(result: dict) -> dict:
    """What lmcache_node_info saw on a host, of its registered result: ``node``, ``controller``, ``log``, or how it
    failed; {} where it was skipped or never ran."""
    return {} if result.get("skipped") else {**result, **json.loads(result.get("seen") or "{}")}


def node_of(result: dict) -> dict | None:
    """NODE of a registered result; a host where the task could not run becomes a NODE that says so."""
    if isinstance(result.get("node"), dict):
        return dict(result["node"])
    lost = _lost(result)
    reached = {"ssh": lost, "ssh_reason": _sentence(result.get("msg"))} if lost else {"ssh": "not-used"}
    if isinstance(result.get("log"), dict):  # alone, or read on the controller while its host was lost
        return {"schema": "kvproof.node/1", **reached, "log": dict(result["log"])}
    return {"schema": "kvproof.node/1", **reached} if lost else None


def other_of(role: str, name: str, result: dict) -> dict | None:
    """CONTROLLER, COORDINATOR or SERVER of a registered result, named after its inventory host."""
    if isinstance(result.get(role), dict):
        return dict(result[role], name=name)
    return {"schema": OTHERS[role][1], "name": name, "ssh": _lost(result)} if _lost(result) else None


def _lost(result: dict) -> str | None:
    return "unreachable" if result.get("unreachable") else "failed" if result.get("failed") else None


def requests_of(answers: list[dict]) -> dict[str, dict]:
    """Host → the request ids that its log should show, since when, and the peers that it should reach.

    answers: {"pair", "probe", "problem"} of the pairs of one cluster; those without a probe tell nothing.
    """
    requests: dict[str, dict] = {}
    for pair, probe in ((answer["pair"], answer["probe"]) for answer in answers if answer["probe"]):
        for role in ("holder", "receiver"):
            known = requests.setdefault(pair[role], {"ids": [], "since": probe["started_at"], "peers": []})
            known["ids"] += wanted_ids(probe, role)
            known["since"] = min(known["since"], probe["started_at"])
            peers = peers_listed(probe) + (targets_of(probe.get("disagg_spec")) if role == "holder" else [])
            known["peers"] += [peer for peer in peers if peer not in known["peers"]]
    return requests


def wanted_ids(probe: dict, role: str) -> list[str]:
    """Response ids that the log of a holder or receiver should show."""
    sent = [trial.get("seed" if role == "holder" else "reuse") or {} for trial in probe.get("trials") or []]
    return [request["response_id"] for request in sent if request.get("response_id")]


def peers_listed(probe: dict) -> list[dict]:
    """Addresses of peers that the controller or coordinator lists, as lmcache_node_info dials them: a coordinator's of
    the KV, and of the server that is asked for it."""
    workers = (probe.get("controller") or {}).get("workers") or []
    addresses = [(worker["peer_init_url"], "peer-init") for worker in workers if worker.get("peer_init_url")]
    for instance in (probe.get("coordinator") or {}).get("instances") or []:
        url = instance.get("p2p_advertised_url")
        if url:
            addresses.append((url, "peer-init"))
            if instance.get("mq_port"):
                addresses.append((f"{url.rpartition(':')[0]}:{instance['mq_port']}", "peer-lookup"))
    return [{"to": address, "why": why} for address, why in dict.fromkeys(addresses)]


def _sentence(text) -> str:
    return " ".join(str(text or "no reason given").split())[:300].rstrip(".")
