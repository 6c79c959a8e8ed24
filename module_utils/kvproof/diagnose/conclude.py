# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What pasted material allows to conclude: ``kvproof.diagnosis/1``.

A cause is named where the material proves it, or where what is set cannot work and nothing else in the material asks
for another explanation.  Everything else ends INCONCLUSIVE, with what it may be and what to collect next.
"""

from __future__ import annotations

from .. import __version__
from ..judge.findings import Finding, all_findings
from ..judge.pasted import HINT, PROOF, SETTING, Sign
from ..judge.verdict import doc_page
from . import live
from .classes import CLASSES
from .read import ROLES, Material, Node

SCHEMA = "kvproof.diagnosis/1"
CAUSE, INCONCLUSIVE = "cause", "inconclusive"
_RANK = list(CLASSES)
_STRENGTHS = (PROOF, SETTING, HINT)  # the strongest first


def diagnose(texts: dict[str, str]) -> dict:
    """The diagnosis of texts, by name: ``paste``, or ``<role>_log``, ``<role>_config``, ``<role>_metrics``."""
    material = read(texts)
    causes = sorted(_seen(material), key=lambda cause: (cause["strength"] != PROOF, _RANK.index(cause["class"])))
    named = [cause for cause in causes if _is_concluded(cause, causes, material)]
    hints = [cause for cause in causes if cause not in named]
    return {
        "schema": SCHEMA,
        "tool": __version__,
        "verdict": CAUSE if named else INCONCLUSIVE,
        "class": named[0]["class"] if named else None,
        "given": sorted(texts),
        "read": [_read(node) for node in material.nodes],
        "problems": [problem for node in material.nodes for problem in node.problems],
        "causes": named,
        "possible": hints,
        "seen": _facts(material),
        "collect": _collect(material, named),
    }


def read(texts: dict[str, str]) -> Material:
    """The facts in texts, by node.  A paste that names no node tells of "the engine"."""
    nodes = {role: Node(role) for role in ROLES}
    for name, text in texts.items():
        role, _between, kind = name.partition("_")
        node = nodes[role if role in nodes else "engine"]
        {"config": node.config, "metrics": node.metrics}.get(kind, node.log)(text)
    return Material(list(nodes.values()))


def _seen(material: Material) -> list[dict]:
    """An entry for each finding that the material shows; what two nodes' settings show where nothing showed more."""
    shown = {finding.slug: (finding, list(finding.pasted(material))) for finding in all_findings() if finding.pasted}
    shown = {slug: (finding, signs) for slug, (finding, signs) in shown.items() if signs}
    classes = {finding.cause_class for finding, _signs in shown.values()}
    for finding, signs in live.findings(material):
        if finding.slug in shown:
            mine = shown[finding.slug][1]
            if _STRENGTHS.index(_strength(signs)) < _STRENGTHS.index(_strength(mine)):
                shown[finding.slug] = (finding, signs)
        elif finding.cause_class not in classes:
            shown[finding.slug] = (finding, signs)
    return [_entry(finding, signs) for finding, signs in shown.values()]


def _strength(signs: list[Sign]) -> str:
    return min((sign.strength for sign in signs), key=_STRENGTHS.index)


def _entry(finding: Finding, signs: list[Sign]) -> dict:
    return {
        "slug": finding.slug,
        "class": finding.cause_class,
        "title": finding.title,
        "strength": _strength(signs),
        "seen": [{"on": sign.role, "text": sign.observed} for sign in signs],
        "proves": finding.meaning,
        "cannot": finding.cannot,
        "remedy": next((sign.remedy for sign in signs if sign.remedy), finding.remedy),
        "source": finding.source,
        "doc": doc_page(finding),
    }


def _is_concluded(cause: dict, causes: list[dict], material: Material) -> bool:
    """Whether a sign is more than a hint here.

    A setting that cannot work explains a miss.  It does not explain an error, and where another cause is proven it
    may be right beside it.
    """
    if cause["strength"] == HINT:
        return False
    proven = [other for other in causes if other["strength"] == PROOF]
    if cause["strength"] == PROOF:
        return True
    shown = [sign["text"] for sign in cause["seen"]]
    unexplained = any(line not in shown for line in material.troubles)
    return not proven and (material.misses or not unexplained)


def _read(node: Node) -> dict:
    return {
        "on": node.role,
        "lines": len(node.lines),
        "log_events": len(node.events),
        "settings": len(node.stated.settings) + len(node.file or {}) + len(node.effective),
        "effective_configuration": bool(node.effective),
        "whole_file": node.file is not None,
        "metrics": bool(node.page),
    }


def _facts(material: Material) -> list[str]:
    """Sentences on what was seen, cause or not."""
    facts = []
    if material.lookups:
        hits = sum(1 for lookup in material.lookups if lookup.hit)
        facts.append(f"{len(material.lookups)} lookups, {hits} of them found tokens in LMCache")
    if material.peers_found:
        facts.append(
            "KV was found at, or fetched by, a peer at least once; no controls were made, so this proves no reuse"
        )
    for product, versions in sorted(material.versions.items()):
        facts.append(f"{product} {', '.join(_release(*span) for span in sorted(versions))}")
    for node in material.nodes:
        values = (node.page or {}).get("values") or {}
        for name in ("vllm:external_prefix_cache_hits_total", "lmcache:num_hit_tokens_total"):
            if name in values:
                facts.append(f"{node.role}: {name} is {values[name]:g} (hits in the node's own cache count as well)")
    return facts


def _release(first: tuple, last: tuple) -> str:
    text = ".".join(map(str, first))
    return text if first == last else f"{text}.x" if last[:-1] == first else f"{text} to {'.'.join(map(str, last))}"


def _collect(material: Material, named: list[dict]) -> list[str]:
    """What to paste next, most telling first."""
    if named:
        return []
    missing = []
    logs = {node.role for node in material.nodes if node.events}
    for role in ("prefill", "decode"):
        if role not in logs:
            missing.append(f"the {role} node's engine log from its start, unabridged ({role}_log)")
    if not any(node.effective for node in material.nodes):
        missing.append(
            'the line "Creating LMCacheEngine with config" of both logs: what is set in a file need not be in force'
        )
    if not material.lookups:
        missing.append(
            'log lines of one request that should have been reused ("LMCache hit tokens", "Stored", "Retrieved")'
        )
    if material.of("controller") is None and material.is_on("enable_p2p"):
        missing.append("the controller's log (controller_log)")
    if not material.versions:
        missing.append("the versions of LMCache and vLLM")
    missing.append(
        "best of all, a run of validate.yml with kv_reuse_bundle: true: it makes the controls that a log lacks"
    )
    return missing
