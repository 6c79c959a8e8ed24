# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The findings of a live run, asked about pasted material: those that need two nodes' settings and start-up lines.

The material becomes a ``kvproof.evidence/1`` in which no request was ever sent; a finding's look does the rest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from ..evidence import document as evidence
from ..judge.case import Case
from ..judge.findings import CERTAIN, HINT, LIKELY, Finding, all_findings
from ..stack import lines
from .read import Material, Told
from .signatures import HINT as POSSIBLE
from .signatures import PROOF, SETTING, Sign
from .stated import UNSET

# slug → class of the cause.  They compare nodes; what one node's material shows has a signature of its own.
COMPARED = {
    "chunk-size-differs": "KEY_MISMATCH",
    "hash-algorithm-differs": "KEY_MISMATCH",
    "hash-seed-differs": "HASH_SEED",
    "kv-format-differs": "KEY_MISMATCH",
    "model-path-differs": "KEY_MISMATCH",
    "instance-id-duplicate": "CONFIG_KEY",
    "p2p-disabled": "CONFIG_KEY",
    "async-loading-off": "ASYNC_OFF",
    "local-cpu-off": "LOCAL_CPU_OFF",
}
# Without P2P meant, these settings are as they should be.
_OF_P2P = ("p2p-disabled", "async-loading-off", "local-cpu-off", "instance-id-duplicate")
# What may be wrong although the controller named a holder for the key.
_AFTER_FINDING = ("kv-format-differs", "model-path-differs")
_STRENGTHS = {CERTAIN: PROOF, LIKELY: SETTING, HINT: POSSIBLE}


def findings(material: Material) -> Iterator[tuple[Finding, str, list[Sign]]]:
    """(finding, class of the cause, where it was seen) of every finding that two nodes' material shows."""
    holder, receiver = material.of("prefill"), material.of("decode")
    if holder is None or receiver is None or material.peers_gave:
        return
    document = _evidence(holder, receiver)
    case = Case(evidence.read(document)[0])
    p2p = any(told.values("enable_p2p") and told.values("enable_p2p")[0] is True for told in (holder, receiver))
    for finding in all_findings():
        if finding.slug not in COMPARED or (finding.slug in _OF_P2P and not p2p):
            continue
        if material.peers_found and finding.slug not in _AFTER_FINDING:
            continue
        signs = [
            Sign(
                sighting.host,
                f"expected {sighting.expected}; observed {sighting.observed}",
                _strength(finding, sighting),
            )
            for sighting in finding.look(case, [])
        ]
        if signs:
            yield finding, COMPARED[finding.slug], signs


def _strength(finding: Finding, sighting) -> str:
    """A comparison of what both engines logged is proof; a setting of one, even in force, is one for its purpose."""
    found = _STRENGTHS[sighting.strength]
    return SETTING if found == PROOF and finding.slug in _OF_P2P else found


def _evidence(holder: Told, receiver: Told) -> dict:
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


def _node(told: Told) -> dict:
    stated = told.stated
    # what is only quoted stands where an environment does: it may not be all, so nothing has its default by it
    env = {f"LMCACHE_{key.upper()}": values[0] for key, values in stated.settings.items() if _sure(values)}
    env.update({name: values[0] for name, values in stated.env.items() if _sure(values)})
    head = [event for event in told.events if event["kind"] in lines.STARTUP]
    return {
        "schema": "kvproof.node/1",
        "engine": {"env": env} if env else None,
        "effective": {"source": "log", "values": told.effective} if told.effective else None,
        "config_file": {"state": "ok", "values": told.file, "keys_other": told.file_other_keys} if told.file else None,
        "log": {"state": "ok", "head": head, "events": [event for event in told.events if event not in head]},
    }


def _sure(values: list) -> bool:
    return len(values) == 1 and values[0] != UNSET
