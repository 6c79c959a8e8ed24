# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From an inventory to the pairs that are to be probed.  An inventory host is one engine."""

from __future__ import annotations

from dataclasses import dataclass, field

MODES = ("full", "cover", "one")
GROUPS = {"kv_prefill": "prefill", "kv_decode": "decode", "kv_controller": "controller"}


@dataclass
class Topology:
    """What to probe: ``pairs`` [{cluster, holder, receiver}], ``skipped`` the same with a reason.

    ``problem`` is one sentence on why there is no pair at all.
    """

    pairs: list[dict] = field(default_factory=list)
    skipped: list[dict] = field(default_factory=list)
    problem: str | None = None


def plan(hosts: list[dict], mode: str = "cover") -> Topology:
    """Pairs of holder (prefill) and receiver (decode) per cluster.

    hosts: [{"name", "cluster", "roles": ["prefill", "decode", "controller"], "in_play": bool}].  Only hosts in the
    play are probed; pairs that --limit cut off are told as skipped.
    mode: "full" every pair; "cover" the fewest in which every node takes part in each of its roles; "one" one a
    cluster.
    """
    if mode not in MODES:
        return Topology(problem=f"kv_reuse_pairs is {mode!r}; use one of {', '.join(MODES)}")
    found = Topology()
    clusters = sorted({h["cluster"] for h in hosts})
    for cluster in clusters:
        _plan_cluster(found, cluster, [h for h in hosts if h["cluster"] == cluster], mode)
    if not found.pairs:
        found.problem = _why_no_pair(hosts, found.skipped)
    return found


def _plan_cluster(found: Topology, cluster: str, hosts: list[dict], mode: str) -> None:
    prefill = [h for h in hosts if "prefill" in h["roles"]]
    decode = [h for h in hosts if "decode" in h["roles"]]
    possible = [(p, d) for p in prefill for d in decode if p["name"] != d["name"]]
    usable = []
    for holder, receiver in possible:
        out = [h["name"] for h in (holder, receiver) if not h["in_play"]]
        if out:
            found.skipped.append(
                {**_pair(cluster, holder, receiver), "reason": f"{' and '.join(out)} not in this run (--limit)"}
            )
        else:
            usable.append((holder, receiver))
    chosen = usable if mode == "full" else usable[:1] if mode == "one" else _cover(usable)
    found.pairs += [_pair(cluster, *pair) for pair in chosen]
    found.skipped += [
        {**_pair(cluster, *pair), "reason": f"kv_reuse_pairs: {mode}"} for pair in usable if pair not in chosen
    ]


def _pair(cluster: str, holder: dict, receiver: dict) -> dict:
    return {"cluster": cluster, "holder": holder["name"], "receiver": receiver["name"]}


def _cover(usable: list[tuple]) -> list[tuple]:
    """The fewest pairs in which every holder and every receiver takes part (greedy; exact for P by D)."""
    left_holders = {p["name"] for p, _ in usable}
    left_receivers = {d["name"] for _, d in usable}
    chosen = []
    while left_holders or left_receivers:
        best = max(usable, key=lambda pair: (pair[0]["name"] in left_holders) + (pair[1]["name"] in left_receivers))
        chosen.append(best)
        left_holders.discard(best[0]["name"])
        left_receivers.discard(best[1]["name"])
    return [pair for pair in usable if pair in chosen]


def _why_no_pair(hosts: list[dict], skipped: list[dict]) -> str:
    """One sentence: why nothing can be judged, and what to do."""
    if skipped:
        first = skipped[0]
        return (
            f"no pair is left to judge: {first['reason']}; name both nodes of a pair in --limit "
            f"(for example {first['holder']},{first['receiver']})"
        )
    engines = [h for h in hosts if set(h["roles"]) & {"prefill", "decode"}]
    if not engines:
        return (
            "no engine in the inventory: put prefill nodes into the group kv_prefill and decode nodes into kv_decode, "
            "or export PREFILL_URL and DECODE_URL"
        )
    for role, other in (("prefill", "decode"), ("decode", "prefill")):
        if not any(role in h["roles"] for h in engines):
            partner = engines[0]["name"]
            return f"no {role} node: the group kv_{role} is empty, so there is no pair with {other} node {partner}"
    return (
        "no pair of two nodes in one cluster: a prefill and a decode node must have the same kv_reuse_cluster "
        f"(seen: {', '.join(sorted({h['cluster'] for h in engines}))})"
    )
