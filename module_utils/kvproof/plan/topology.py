# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From an inventory to the pairs that are to be probed.  An inventory host is one engine."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

MODES = ("full", "cover", "one")
GROUPS = {"kv_prefill": "prefill", "kv_decode": "decode", "kv_controller": "controller"}
NAMED = 8  # nodes that a note names


@dataclass
class Topology:
    """What to probe: ``pairs`` [{cluster, holder, receiver, shares}], ``skipped`` the first three with a reason.

    ``shares``: how many pairs of this run use the busier engine of a pair; they share the bound on probe KV.
    ``notes``: sentences about nodes that no pair touches.  ``problem``: one sentence on why there is no pair at all.
    """

    pairs: list[dict] = field(default_factory=list)
    skipped: list[dict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problem: str | None = None


def plan(hosts: list[dict], mode: str = "cover", most: int = 0) -> Topology:
    """Pairs of holder (prefill) and receiver (decode) per cluster.

    hosts: [{"name", "cluster", "roles": ["prefill", "decode", "controller"], "in_play": bool}].  Only hosts in the
    play are probed; pairs that --limit cut off are told as skipped.
    mode: "full" every pair; "cover" the fewest in which every node takes part in each of its roles; "one" one a
    cluster.  most: at most so many pairs a cluster, 0 for no bound.
    """
    if mode not in MODES:
        return Topology(problem=f"kv_reuse_pairs is {mode!r}; use one of {', '.join(MODES)}")
    if most < 0:
        return Topology(problem=f"kv_reuse_max_pairs is {most}; use 0 for no bound, or a number of pairs")
    found = Topology()
    by_cluster: dict[str, list[dict]] = {}
    for host in hosts:
        by_cluster.setdefault(host["cluster"], []).append(host)
    for cluster in sorted(by_cluster):
        _plan_cluster(found, cluster, by_cluster[cluster], mode, most)
    found.notes = _cut_off(hosts) + found.notes[:NAMED] + _more(len(found.notes) - NAMED)
    uses = Counter(pair[role] for pair in found.pairs for role in ("holder", "receiver"))
    for pair in found.pairs:
        pair["shares"] = max(uses[pair["holder"]], uses[pair["receiver"]])
    if not found.pairs:
        found.problem = _why_no_pair(hosts, found.skipped)
    return found


def rounds(pairs: list[dict], parallel: int = 1) -> dict[str, list[list[dict]]]:
    """Cluster → its pairs in rounds of at most ``parallel``, none of which has an engine twice: what is probed at the
    same time does not share an engine, whose times would be of both."""
    found: dict[str, list[list[dict]]] = {}
    for pair in pairs:
        mine = found.setdefault(pair["cluster"], [])
        free = next((one for one in mine if len(one) < parallel and not _share_an_engine(one, pair)), None)
        if free is None:
            mine.append(free := [])
        free.append(pair)
    return found


def _share_an_engine(some: list[dict], pair: dict) -> bool:
    names = {pair["holder"], pair["receiver"]}
    return any(names & {one["holder"], one["receiver"]} for one in some)


def _plan_cluster(found: Topology, cluster: str, hosts: list[dict], mode: str, most: int) -> None:
    present = {h["name"]: h["in_play"] for h in hosts}
    prefill = [h["name"] for h in hosts if "prefill" in h["roles"]]
    decode = [h["name"] for h in hosts if "decode" in h["roles"]]
    possible = [(p, d) for p in prefill for d in decode if p != d]
    usable = [pair for pair in possible if all(present[name] for name in pair)]
    cover = _cover(usable)
    wanted = {"full": list(dict.fromkeys(cover + usable)), "cover": cover, "one": usable[:1]}[mode]
    chosen = set(wanted[:most] if most else wanted)
    beyond = set(wanted) - chosen
    for pair in possible:
        named = {"cluster": cluster, "holder": pair[0], "receiver": pair[1]}
        out = [name for name in pair if not present[name]]
        if pair in chosen:
            found.pairs.append(named)
        elif out:
            found.skipped.append({**named, "reason": f"{' and '.join(out)} not in this run (--limit)"})
        else:
            reason = f"kv_reuse_max_pairs: {most}" if pair in beyond else f"kv_reuse_pairs: {mode}"
            found.skipped.append({**named, "reason": reason})
    if chosen:
        found.notes += _untouched(cluster, prefill, decode, present, chosen)


def _cut_off(hosts: list[dict]) -> list[str]:
    """Says that a run judges only a part of what its inventory has."""
    engines = [h for h in hosts if set(h["roles"]) & {"prefill", "decode"}]
    left = [h for h in engines if h["in_play"]]
    if not left or len(left) == len(engines):
        return []
    return [f"only {len(left)} of {len(engines)} engines are in this run (--limit); it judges no others"]


def _more(count: int) -> list[str]:
    return [f"{count} more notes like these on other clusters, see not_probed in verdict.json"] if count > 0 else []


def _untouched(cluster: str, prefill: list[str], decode: list[str], present: dict, chosen: set[tuple]) -> list[str]:
    """Nodes of this run that no pair touches in one of their roles, which nobody should take for proven."""
    found = []
    for role, names, at in (("holder", prefill, 0), ("receiver", decode, 1)):
        used = {pair[at] for pair in chosen}
        left = [name for name in names if present[name] and name not in used]
        if left:
            more = f" and {len(left) - NAMED} more" if len(left) > NAMED else ""
            found.append(f"cluster {cluster}: no pair has {', '.join(left[:NAMED])}{more} as {role}: not proven there")
    return found


def _cover(usable: list[tuple[str, str]]) -> list[tuple[str, str]]:
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
    queue = [start]
    for holder in queue:
        for receiver in partners[holder]:
            if receiver in came_from:
                continue
            came_from[receiver] = holder
            if receiver in taken:
                queue.append(taken[receiver])
                continue
            free: str | None = receiver
            while free is not None:  # the way back: each holder on it takes the receiver that it asked for
                asking, wanted = came_from[free], free
                free = next((had for had, owner in taken.items() if owner == asking), None)
                taken[wanted] = asking
            return True
    return False


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
