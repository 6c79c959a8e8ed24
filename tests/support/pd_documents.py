# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evidence of a pair of LMCache's prefill/decode transfer, as documents.py has it of the in-process P2P."""

from __future__ import annotations

import pd_nodes
from documents import PROMPT, ROLES, count, event, looked_up, pair, put

SIDES = {"holder": "sender", "receiver": "receiver"}


def pd_pair(*outcomes: str) -> dict:
    """Fresh prompts that were "proven" (three times where none is named) or "missed"."""
    outcomes = outcomes or ("proven",) * 3
    document = pair(*outcomes, architecture="lmcache_pd", controllers=[])
    probe = document["probe"]
    probe.update(controller=None, architecture="lmcache_pd", disagg_spec=pd_nodes.SPEC, withheld=None)
    for role, side in SIDES.items():
        _node(document["nodes"][role], role, side)
        known = {"architecture": "lmcache_pd", "kv_role": pd_nodes.KV_ROLE[side], "connector": "LMCacheConnectorV1"}
        probe["engines"][role]["recognised"] = known
    events: dict[str, list[dict]] = {"holder": [], "receiver": []}
    for index, (trial, outcome) in enumerate(zip(probe["trials"], outcomes)):
        seed, reuse, knockout = (f"{index}-{role}" for role in ("seed", "reuse", "knockout"))
        hit = PROMPT if outcome == "proven" else 0
        trial.update(prefix_tokens=PROMPT, visible={"how": None, "reached": False, "waited_s": 5.0, "limit_s": 5.0})
        trial["seed"]["completion_tokens"] = 1
        trial["reuse"]["cached_tokens"] = max(0, hit - 1)
        events["holder"] += [looked_up(seed), event("stored", seed, tokens=PROMPT, total=PROMPT)]
        events["receiver"] += [looked_up(reuse, hit, need=max(0, hit - 1))]
        if hit:
            events["receiver"].append(event("retrieved", reuse, tokens=hit, required=hit, total=hit))
        events["receiver"].append(looked_up(knockout))
    events["receiver"] += [looked_up("never"), looked_up("recompute")]
    for role in ROLES:
        document["nodes"][role]["log"]["events"] = events[role]
    values = probe["engines"]["receiver"]["metrics"]["after"]["values"]
    values["vllm:external_prefix_cache_hits_total"] = float((PROMPT - 1) * outcomes.count("proven"))
    return document


def _node(node: dict, role: str, side: str) -> None:
    mine = pd_nodes.node(side)
    node.update({part: mine[part] for part in ("hostname", "addresses", "backends", "pd", "dials", "meta")})
    node["meta"]["model_name"] = "/opt/kv/model"
    node["engine"]["options"] = mine["engine"]["options"]
    node["effective"]["values"] = node["config_file"]["values"] = dict(
        mine["effective"]["values"], pre_caching_hash_algorithm="builtin", local_cpu=False
    )
    node["p2p_host"] = {"value": None, "resolved": [], "ours": None}
    drop = ("registering", "p2p_listening", "backend_created", "config")
    head = [one for one in node["log"]["head"] if one["kind"] not in drop]
    head.append(event("backend_created", name="PDBackend"))
    if side == "receiver":
        head += [event("pd_admission", chunks=256), event("init_received")]
    node["log"]["head"] = head


def withheld(document: dict, why: str = "a doubt") -> dict:
    """Nothing was sent."""
    probe = document["probe"]
    probe.update(trials=[], warmup=[], never_seen=None, recompute=None, prompt=None, withheld=why)
    for role in ROLES:
        document["nodes"][role]["log"]["events"] = []
    return count(document)


def in_doubt(case: str) -> dict:
    """A pair of which a case of pd_nodes.DOUBTS is true, so that nothing was sent."""
    sender, receiver, _kind, _words = pd_nodes.DOUBTS[case]
    document = withheld(pd_pair())
    for role, node in (("holder", sender), ("receiver", receiver)):
        head = document["nodes"][role]["log"]["head"] + node["log"]["head"]
        document["nodes"][role].update({part: node[part] for part in node if part not in ("log", "schema")})
        document["nodes"][role]["log"]["head"] = head
    return document


def pushes_lost(text: str) -> dict:
    """The sender gave every push up, for this reason."""
    document = pd_pair("missed", "missed", "missed")
    lines = []
    for index in range(3):
        lines.append(event("stored", f"{index}-seed", tokens=PROMPT, total=PROMPT))
        lines.append(event("pd_transfer_failed", text=text, line=f"LMCache ERROR: Async transfer task failed: {text}"))
        lines.append({**event("pd_aborted"), "id": f"kvp-k3f9a1c2b-{index}-seed"})
    return put(document, "nodes.holder.log.events", lines)


def too_small() -> dict:
    document = pushes_lost("given up")
    for one in document["nodes"]["holder"]["log"]["events"]:
        if one["kind"] == "pd_transfer_failed":
            one["kind"] = "pd_alloc_failed"
    small = [{**event("pd_buffer_small", asked=5, chunks=3), "id": f"kvp-k3f9a1c2b-{index}-seed"} for index in range(3)]
    document["nodes"]["receiver"]["log"]["events"] += small
    return document
