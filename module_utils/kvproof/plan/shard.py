# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A part of an inventory for each of several runs, cut between clusters and never through one.

A cluster's shard follows from its name and the number of shards alone, so that runs that know nothing of each other
agree on it, and another cluster more or less moves no third one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from itertools import islice
from typing import Annotated, TypedDict

from .topology import NAMED, Host


class Shard(TypedDict):
    """Which part of an inventory a run was given."""

    number: Annotated[int, "From 1."]
    of: Annotated[int, "How many shards there are."]
    clusters: Annotated[int, "Clusters of this run's inventory that fall into this shard."]
    all_clusters: Annotated[int, "Clusters of this run's inventory, of all shards."]


def parse(text: str) -> tuple[int, int] | None:
    """(number, of) of "2/5"; None of an empty text.  Raises ValueError with one clear sentence."""
    if not text.strip():
        return None
    given = re.fullmatch(r"\s*0*([1-9][0-9]{0,4})\s*/\s*0*([1-9][0-9]{0,4})\s*", text, re.ASCII)
    number, of = (int(part) for part in given.groups()) if given else (0, 0)
    if not 1 <= number <= of:
        raise ValueError(f"kv_reuse_shard is {text[:40]!r}: give which shard of how many, from 1/5 to 5/5 for five")
    return number, of


def number_of(cluster: str, of: int) -> int:
    """The shard that a cluster falls into, 1 to `of`."""
    return int.from_bytes(hashlib.sha256(cluster.encode()).digest()[:8], "big") % of + 1


def cut(hosts: list[Host], number: int, of: int) -> tuple[list[Host], Shard]:
    """The hosts of a shard.  Only clusters with an engine in the play are counted: --limit may cut others off."""
    engines = [host for host in hosts if host["in_play"] and {"prefill", "decode"} & {*host["roles"]}]
    clusters = {host["cluster"] for host in engines}
    mine = [cluster for cluster in clusters if number_of(cluster, of) == number]
    shard: Shard = {"number": number, "of": of, "clusters": len(mine), "all_clusters": len(clusters)}
    return [host for host in hosts if number_of(host["cluster"], of) == number], shard


def name(shard: Shard) -> str:
    return f"{shard['number']}/{shard['of']}"


def is_empty(shard: Shard | None) -> bool:
    """Whether nothing falls into it although there is something for others."""
    return shard is not None and not shard["clusters"] and shard["all_clusters"] > 0


def note(shard: Shard) -> str:
    """A sentence on what a run of it does not judge."""
    if is_empty(shard):
        return f"nothing in shard {name(shard)}: all {shard['all_clusters']} clusters of the inventory fall into others"
    return (
        f"shard {name(shard)}: {shard['clusters']} of the inventory's {shard['all_clusters']} clusters; the others "
        "are for the other shards to judge"
    )


def together(shards: Iterable[Shard]) -> tuple[Shard | None, str | None]:
    """The shard of several plays of one run; with a sentence where they took different ones."""
    whole: Shard | None = None
    for shard in shards:
        if whole is None:
            whole = {**shard}
        elif (shard["number"], shard["of"]) != (whole["number"], whole["of"]):
            return whole, f"plays of this run took different shards, {name(whole)} and {name(shard)}: give all the same"
        else:
            whole["clusters"] += shard["clusters"]
            whole["all_clusters"] += shard["all_clusters"]
    return whole, None


def gaps(reports: list[tuple[str, Shard]]) -> list[str]:
    """Why reports of shards are not the whole inventory, a sentence each.  reports: name of a report and its shard."""
    if not reports:
        return []
    cuts = {shard["of"]: (report, shard) for report, shard in reports}
    if len(cuts) > 1:
        seen = ", ".join(f"{name(shard)} ({report})" for report, shard in cuts.values())
        return [f"the reports are of shards of different cuts: {seen}; validate all shards with one number of shards"]
    (of,) = cuts
    by_number: dict[int, list[str]] = {}
    for report, shard in reports:
        by_number.setdefault(shard["number"], []).append(report)
    problems = [
        f"shard {number}/{of} is in several reports ({', '.join(names)}): leave all but one of its runs out"
        for number, names in sorted(by_number.items())
        if names[1:]
    ]
    missing = list(islice((number for number in range(1, of + 1) if number not in by_number), NAMED))
    more = of - sum(number <= of for number in by_number) - len(missing)
    problems += [
        f"shard {number}/{of} is in none of the reports: add the report of its run, or validate with "
        f"kv_reuse_shard={number}/{of}"
        for number in missing
    ]
    if more > 0:
        problems.append(f"{more} more of {of} shards are in none of the reports")
    sizes = {shard["all_clusters"] for _report, shard in reports}
    judged = sum(shard["clusters"] for _report, shard in reports)
    if len(sizes) > 1 or (not problems and judged not in sizes):
        problems.append(
            "the shards were cut from different inventories ("
            + ", ".join(
                f"{name(shard)}: {shard['clusters']} of {shard['all_clusters']} clusters"
                for _report, shard in reports[:NAMED]
            )
            + "), so that a cluster may be in none of them: validate all shards with one inventory"
        )
    return problems
