# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From an inventory to the pairs that are to be probed.  An inventory host is one engine."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TypedDict

from .pair import PairNames, PlannedPair, SkippedPair

MODES = ("full", "cover", "one")
GROUPS = {
    "kv_prefill": "prefill",
    "kv_decode": "decode",
    "kv_controller": "controller",
    "kv_coordinator": "coordinator",
    "kv_cache_server": "cache_server",
}
#: What is looked at on its host and is no engine.
OTHERS = ("controller", "coordinator", "cache_server")
NAMED = 8  # nodes that a note names

Edge = tuple[str, str]  # a holder and a receiver of one cluster


class Host(TypedDict):
    """An inventory host.  Only hosts ``in_play`` are probed: --limit may cut others off."""

    name: str
    cluster: str
    roles: list[str]  # values of GROUPS
    in_play: bool


@dataclass
class Topology:
    """What to probe, and what not.

    ``notes``: sentences about nodes that no pair touches.  ``problem``: one sentence on why there is no pair at all.
    """

    pairs: list[PlannedPair] = field(default_factory=list)
    skipped: list[SkippedPair] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problem: str | None = None


def plan(hosts: list[Host], mode: str = "cover", most: int = 0) -> Topology:
    """Pairs of holder (prefill) and receiver (decode) per cluster; those that --limit cut off are skipped ones.

    mode: "full" every pair; "cover" the fewest in which every node takes part in each of its roles; "one" one a
    cluster.  most: at most so many pairs a cluster, 0 for no bound.
    """
    if mode not in MODES:
        return Topology(problem=f"kv_reuse_pairs is {mode!r}; use one of {', '.join(MODES)}")
    if most < 0:
        return Topology(problem=f"kv_reuse_max_pairs is {most}; use 0 for no bound, or a number of pairs")
    by_cluster: dict[str, list[Host]] = {}
    for host in hosts:
        by_cluster.setdefault(host["cluster"], []).append(host)
    topology = Topology()
    for cluster in sorted(by_cluster):
        _plan_cluster(topology, cluster, by_cluster[cluster], mode, most)
    topology.notes = _cut_off(hosts) + topology.notes[:NAMED] + _more(len(topology.notes) - NAMED)
    uses = Counter(name for pair in topology.pairs for name in _engines(pair))
    for pair in topology.pairs:
        pair["shares"] = max(uses[name] for name in _engines(pair))
    if not topology.pairs:
        topology.problem = _why_no_pair(hosts, topology.skipped)
    return topology


def rounds(pairs: list[PlannedPair], parallel: int = 1) -> dict[str, list[list[PlannedPair]]]:
    """Cluster → its pairs in rounds of at most ``parallel``, none of which has an engine twice: what is probed at the
    same time does not share an engine, whose times would be of both."""
    of_cluster: dict[str, list[list[PlannedPair]]] = {}
    for pair in pairs:
        mine = of_cluster.setdefault(pair["cluster"], [])
        free = next((some for some in mine if len(some) < parallel and not _share_an_engine(some, pair)), None)
        if free is None:
            mine.append(free := [])
        free.append(pair)
    return of_cluster


def beyond(hosts: list[Host], pairs: list[PlannedPair]) -> dict[str, list[str]]:
    """Cluster → its engines that are in none of these pairs, of clusters that have such."""
    used = {name for pair in pairs for name in _engines(pair)}
    left: dict[str, list[str]] = {}
    for host in hosts:
        if {"prefill", "decode"} & {*host["roles"]} and host["name"] not in used:
            left.setdefault(host["cluster"], []).append(host["name"])
    return left


def _share_an_engine(some: list[PlannedPair], pair: PlannedPair) -> bool:
    return any(_engines(pair) & _engines(other) for other in some)


def _engines(pair: PlannedPair) -> set[str]:
    return {pair["holder"], pair["receiver"]}


def _plan_cluster(topology: Topology, cluster: str, hosts: list[Host], mode: str, most: int) -> None:
    present = {host["name"]: host["in_play"] for host in hosts}
    prefill, decode = ([host["name"] for host in hosts if role in host["roles"]] for role in ("prefill", "decode"))
    possible = [(holder, receiver) for holder in prefill for receiver in decode if holder != receiver]
    usable = [edge for edge in possible if all(present[name] for name in edge)]
    cover = _cover(usable)
    in_order = {"full": list(dict.fromkeys(cover + usable)), "cover": cover, "one": usable[:1]}[mode]
    chosen = set(in_order[:most] if most else in_order)
    beyond = set(in_order) - chosen
    for edge in possible:
        names: PairNames = {"cluster": cluster, "holder": edge[0], "receiver": edge[1]}
        out = [name for name in edge if not present[name]]
        if edge in chosen:
            topology.pairs.append({**names, "shares": 1})
        elif out:
            topology.skipped.append({**names, "reason": f"{' and '.join(out)} not in this run (--limit)"})
        else:
            reason = f"kv_reuse_max_pairs: {most}" if edge in beyond else f"kv_reuse_pairs: {mode}"
            topology.skipped.append({**names, "reason": reason})
    if chosen:
        topology.notes += _untouched(cluster, prefill, decode, present, chosen)


def _cut_off(hosts: list[Host]) -> list[str]:
    """Says that a run judges only a part of what its inventory has."""
    engines = [host for host in hosts if {"prefill", "decode"} & {*host["roles"]}]
    left = [host for host in engines if host["in_play"]]
    if not left or len(left) == len(engines):
        return []
    return [f"only {len(left)} of {len(engines)} engines are in this run (--limit); it judges no others"]


def _more(count: int) -> list[str]:
    return [f"{count} more notes like these on other clusters, see not_probed in verdict.json"] if count > 0 else []


def _untouched(
    cluster: str, prefill: list[str], decode: list[str], present: dict[str, bool], chosen: set[Edge]
) -> list[str]:
    """Nodes of this run that no pair touches in one of their roles, which nobody should take for proven."""
    notes = []
    for role, names, at in (("holder", prefill, 0), ("receiver", decode, 1)):
        used = {edge[at] for edge in chosen}
        left = [name for name in names if present[name] and name not in used]
        if left:
            more = f" and {len(left) - NAMED} more" if len(left) > NAMED else ""
            notes.append(f"cluster {cluster}: no pair has {', '.join(left[:NAMED])}{more} as {role}: not proven there")
    return notes


def _cover(usable: list[Edge]) -> list[Edge]:
    """The fewest pairs in which every holder and every receiver takes part that can.

    A largest matching, which serves two new nodes a pair, and one pair for each node left over, with the partner
    that has the fewest so far: no cover is smaller.  The pairs that serve most come first.
    """
    partners: dict[str, list[str]] = {}
    for holder, receiver in usable:
        partners.setdefault(holder, []).append(receiver)
    taken: dict[str, str] = {}  # receiver → holder
    for holder in partners:
        _match(holder, partners, taken)
    matched = {holder: receiver for receiver, holder in taken.items()}
    chosen = [(holder, matched[holder]) for holder in partners if holder in matched]
    uses = Counter(name for pair in chosen for name in pair)
    sides: tuple[dict[str, list[str]], dict[str, list[str]]] = ({}, {})
    for holder, receiver in usable:
        if holder not in matched:
            sides[0].setdefault(holder, []).append(receiver)
        if receiver not in taken:
            sides[1].setdefault(receiver, []).append(holder)
    for left, is_holder in zip(sides, (True, False)):
        for node, others in left.items():
            other = min(others, key=lambda name: uses[name])
            uses.update((node, other))
            chosen.append((node, other) if is_holder else (other, node))
    return chosen


def _match(start: str, partners: dict[str, list[str]], taken: dict[str, str]) -> bool:
    """Gives a holder a receiver of its own, moving other holders on where that frees one.  Without recursion."""
    came_from: dict[str, str] = {}  # receiver → the holder that asks for it
    queue = deque([start])
    while queue:
        holder = queue.popleft()
        for receiver in partners[holder]:
            if receiver in came_from:
                continue
            came_from[receiver] = holder
            if receiver in taken:
                queue.append(taken[receiver])
                continue
            free: str | None = receiver
            while free is not None:  # the way back: each holder on it takes the receiver that it asked for
                asking, given = came_from[free], free
                free = next((had for had, owner in taken.items() if owner == asking), None)
                taken[given] = asking
            return True
    return False


def _why_no_pair(hosts: list[Host], skipped: list[SkippedPair]) -> str:
    """One sentence: why nothing can be judged, and what to do."""
    if skipped:
        first = skipped[0]
        return (
            f"no pair is left to judge: {first['reason']}; name both nodes of a pair in --limit "
            f"(for example {first['holder']},{first['receiver']})"
        )
    engines = [host for host in hosts if {"prefill", "decode"} & {*host["roles"]}]
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
