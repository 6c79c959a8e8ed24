# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks of findings that compare two nodes, asked about the settings and start-up lines of pasted material.

The material becomes a ``kvproof.evidence/1`` in which no request was ever sent; a finding's look does the rest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from ..evidence import document as evidence
from ..judge.case import Case
from ..judge.findings import CERTAIN, LIKELY, Finding, all_findings
from ..judge.pasted import FORMAT, HINT, P2P, PROOF, SETTING, UNSET, Sign
from ..stack import lines
from .read import Material, Node

_STRENGTHS = {CERTAIN: PROOF, LIKELY: SETTING, HINT: HINT}


def findings(material: Material) -> Iterator[tuple[Finding, list[Sign]]]:
    """(finding, where it was seen) of every finding that two nodes' material shows."""
    holder, receiver = material.of("prefill"), material.of("decode")
    if holder is None or receiver is None or material.peers_gave:
        return
    case = Case(evidence.read(_evidence(holder, receiver))[0])
    p2p = any(node.values("enable_p2p") and node.values("enable_p2p")[0] is True for node in (holder, receiver))
    for finding in all_findings():
        if finding.look is None or finding.compares is None or (finding.compares == P2P and not p2p):
            continue
        if material.peers_found and finding.compares != FORMAT:
            continue
        signs = [
            Sign(
                sighting.host,
                f"expected {sighting.expected}; observed {sighting.observed}",
                SETTING if finding.compares == P2P and sighting.strength == CERTAIN else _STRENGTHS[sighting.strength],
            )
            for sighting in finding.look(case, [])
        ]
        if signs:
            yield finding, signs


def _evidence(holder: Node, receiver: Node) -> dict:
    document = {
        "schema": evidence.SCHEMA,
        "cluster": "pasted",
        "mode": "recording",
        "architecture": "inprocess_p2p",
        "pair": {"holder": holder.role, "receiver": receiver.role},
        "probe": {"schema": "kvproof.probe/1", "engines": {}, "trials": []},
        "nodes": {"holder": _node(holder), "receiver": _node(receiver)},
        "controllers": [],
    }
    return json.loads(json.dumps(document, default=str))


def _node(node: Node) -> dict:
    stated = node.stated
    # what is only quoted stands where an environment does: it may not be all, so nothing has its default by it
    env = {f"LMCACHE_{key.upper()}": values[0] for key, values in stated.settings.items() if _sure(values)}
    env.update({name: values[0] for name, values in stated.env.items() if _sure(values)})
    head = [event for event in node.events if event["kind"] in lines.STARTUP]
    return {
        "schema": "kvproof.node/1",
        "engine": {"env": env} if env else None,
        "effective": {"source": "log", "values": node.effective} if node.effective else None,
        "config_file": {"state": "ok", "values": node.file, "keys_other": node.file_other_keys} if node.file else None,
        "log": {"state": "ok", "head": head, "events": [event for event in node.events if event not in head]},
    }


def _sure(values: list) -> bool:
    return len(values) == 1 and values[0] != UNSET
