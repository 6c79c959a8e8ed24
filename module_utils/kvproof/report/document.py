# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One document for a run (``kvproof.verdict/1``, docs/verdict.schema.json) and the questions its views ask of it.

Nothing is decided here.  Every view shows what the document says.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import __version__
from ..judge.verdict import FAIL, INCONCLUSIVE, PASS
from ..plan import shard as shards
from ..plan.pair import PairNames, SkippedPair
from .language import mark, say
from .parts import DECISIVE, SCHEMA, Cluster, Counted, Finding, Inconclusive, Mode, Pair, Places, Status, Verdict, Word

COUNTED = {
    "pass": mark("pass"),
    "fail": mark("fail"),
    "inconclusive": mark("inconclusive"),
    "waived": mark("waived"),
    "not judged": mark("not judged"),
}
WORDS = {PASS: "PASS", FAIL: "FAIL", INCONCLUSIVE: "INCONCLUSIVE", None: "INCOMPLETE"}
ORDER: tuple[Word, ...] = (FAIL, INCONCLUSIVE, PASS)
FIRST = 5  # findings that a pipeline is told
HOSTS, PLACES = 12, 12  # named and shown of one finding
# Roles of findings as the reader meets them: what decided the verdict, what is wrong besides, what to know.
KINDS = {"failure": "decisive", "cause": "decisive", "validity": "decisive", "warning": "warning", "note": "note"}


def document(
    *,
    status: Status,
    started_at: str,
    finished_at: str | None = None,
    pairs: Sequence[Pair] = (),
    not_judged: Sequence[SkippedPair] = (),
    skipped: Sequence[SkippedPair] = (),
    problems: Sequence[str] = (),
    notes: Sequence[str] = (),
    mode: Mode | None = None,
    run_id: str | None = None,
    inconclusive: Inconclusive = "fail",
    exit_code: int | None = None,
    shard: shards.Shard | None = None,
    places: Places | None = None,
    traceparent: str | None = None,
) -> Verdict:
    """The whole run.

    status: "incomplete" until the run has ended, then "complete".  Times are ISO 8601, UTC.
    pairs: verdicts as judge() gives them.  not_judged: those that were to be judged and have no verdict.
    skipped: those that this run was not asked to judge.
    problems: sentences about the run that belong to no pair.  exit_code: what Ansible will exit with, if known.
    shard: the part of an inventory that the run was given; one that nothing falls into fails no run.
    places, traceparent: what formats that were asked for show besides.
    """
    clusters = [
        _cluster(name, [p for p in pairs if p["cluster"] == name], [p for p in not_judged if p["cluster"] == name])
        for name in sorted({p["cluster"] for p in [*pairs, *not_judged]}, key=natural)
    ]
    complete = status == "complete"
    verdicts = [cluster["verdict"] for cluster in clusters] + [INCONCLUSIVE] * bool(problems)
    verdict = worst(verdicts) or INCONCLUSIVE
    unproven = bool(problems or not_judged)
    empty = shards.is_empty(shard) and not clusters
    doc: Verdict = {
        "schema": SCHEMA,
        "tool": __version__,
        "run_id": run_id,
        "mode": mode,
        "status": status,
        "started_at": started_at,
        "finished_at": finished_at,
        "verdict": verdict if complete else None,
        "inconclusive": inconclusive,
        "run_fails": not complete or unproven or (fails(verdict, inconclusive) and not empty),
        "exit_code": exit_code,
        "clusters": clusters,
        "not_probed": list(skipped),
        "problems": list(problems),
        "notes": list(notes),
    }
    if shard:
        doc["shard"] = shard
    if places:
        doc["places"] = places
    if traceparent:
        doc["traceparent"] = traceparent
    return doc


def _cluster(name: str, pairs: list[Pair], not_judged: list[SkippedPair]) -> Cluster:
    verdicts = [pair["verdict"] for pair in pairs if not pair["waived"]]
    counts: dict[Counted, int] = {
        **Counter(verdicts),
        "waived": len(pairs) - len(verdicts),
        "not judged": len(not_judged),
    }
    return {
        "name": name,
        "verdict": worst(verdicts + [INCONCLUSIVE] * bool(not_judged)) or PASS,
        "counts": {word: count for word, count in counts.items() if count},
        "pairs": pairs,
        "not_judged": not_judged,
    }


def outcome(doc: Verdict) -> dict[str, Any]:
    """What a pipeline decides by: verdict, counts, the clusters that do not pass, the first findings against them."""
    pairs = all_pairs(doc)
    bad = [cluster["name"] for cluster in doc["clusters"] if cluster["verdict"] != PASS]
    against = [group for group in groups(doc) if group.kind == "decisive" and not group.entry["waived"]]
    return {
        "verdict": doc["verdict"],
        "pairs": len(pairs) + sum(len(cluster["not_judged"]) for cluster in doc["clusters"]),
        "passed": sum(pair["verdict"] == PASS for pair in pairs),
        "failed": sum(pair["verdict"] == FAIL for pair in pairs),
        "failing_clusters": bad[:HOSTS],
        "findings": [{"finding": group.entry["slug"], "hosts": group.hosts[:HOSTS]} for group in against[:FIRST]],
    }


def together(places: Places | None, more: Places | None) -> Places | None:
    """The places of two runs, or of two plays of one."""
    if places is None or more is None:
        return places or more
    return {"hosts": {**places["hosts"], **more["hosts"]}, "otherwise": more["otherwise"]}


def is_empty_shard(doc: Verdict) -> bool:
    """Whether the run was given a part of an inventory that no cluster falls into: it judged nothing, as it should."""
    return shards.is_empty(doc.get("shard")) and not doc["clusters"]


def worst(verdicts: Iterable[Word]) -> Word | None:
    """The verdict that counts for a group: a failure before inconclusive before a pass; None for none."""
    seen = set(verdicts)
    return next((v for v in ORDER if v in seen), None)


def fails(verdict: str, inconclusive: str = "fail") -> bool:
    """Whether a verdict must make the run's exit code non-zero."""
    return verdict == FAIL or (verdict == INCONCLUSIVE and inconclusive != "warn")


def pair_fails(pair: Pair, inconclusive: str = "fail") -> bool:
    """Whether this pair makes the run's exit code non-zero."""
    return not pair["waived"] and fails(pair["verdict"], inconclusive)


def all_pairs(doc: Verdict) -> list[Pair]:
    return [pair for cluster in doc["clusters"] for pair in cluster["pairs"]]


def decisive(pair: Pair) -> list[Finding]:
    return [f for f in pair["findings"] if f["role"] in DECISIVE]


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Sorts names with numbers as a person would: c9 before c10."""
    parts = re.split(r"([0-9]{1,18})", name)
    return [(True, int(part), "") if at % 2 else (False, 0, part) for at, part in enumerate(parts)]


def pair_name(pair: PairNames) -> str:
    return f"{pair['holder']} → {pair['receiver']}"


def headline(pair: Pair) -> str:
    """One line: the verdict of a pair and its first reason."""
    return f"{WORDS[pair['verdict']]} {pair['cluster']}: {pair_name(pair)}{where(pair)}: {reason(pair)}"


def where(pair: Pair) -> str:
    """Where the chain broke, with a space before it; empty when it did not."""
    first = pair["first_broken"]
    return " " + say("at link {link} ({name})", **first) if first else ""


def reason(pair: Pair, title: bool = True) -> str:
    """Why the verdict is what it is, in a few words."""
    if pair["verdict"] == PASS:
        proven, asked = pair["counts"].get("proven", 0), pair["counts"]["fresh_prompts"]
        return say("{proven} of {asked} fresh prompts proven to be reused", proven=proven, asked=asked)
    first = next(iter(decisive(pair)), None)
    if not first:
        return say("the proof is incomplete")
    return f"{first['slug']}: {first['title']} [{first['host']}]" if title else f"{first['slug']} [{first['host']}]"


@dataclass
class Place:
    """What was seen, and on which hosts the same was seen."""

    expected: str
    observed: str
    reason: str
    remedy: str
    hosts: list[str] = field(default_factory=list)


@dataclass
class Group:
    """A finding over all pairs and hosts, shown once."""

    entry: Finding  # the first of its entries: what does not depend on the host
    kind: str  # "decisive", "warning" or "note"
    places: list[Place] = field(default_factory=list)
    pairs: int = 0

    @property
    def hosts(self) -> list[str]:
        return list(dict.fromkeys(host for place in self.places for host in place.hosts))

    @property
    def more(self) -> str | None:
        """In a few words, the places that are too many to be shown; verdict.json has them all."""
        hosts = list(dict.fromkeys(host for place in self.places[PLACES:] for host in place.hosts))
        if not hosts:
            return None
        count = len(self.places) - PLACES
        return say("{count} more like these: {hosts}; see verdict.json", count=count, hosts=several(hosts))

    @property
    def brief(self) -> str:
        """What was seen everywhere and why, for a single line."""
        observed = list(dict.fromkeys(place.observed for place in self.places))
        why = list(dict.fromkeys(place.reason for place in self.places))
        more = [say("and {count} more", count=len(observed) - 3)] if len(observed) > 3 else []
        return "; ".join([self.entry["title"] + ": " + ", ".join(observed[:3] + more), *why[:1]])

    @property
    def remedy(self) -> str | None:
        """The remedy when it is one for all places."""
        remedies = {place.remedy for place in self.places}
        return remedies.pop() if len(remedies) == 1 else None


def groups(doc: Verdict) -> list[Group]:
    """Findings of all pairs, each shown once: decisive ones, then warnings, then notes, each along the chain."""
    by_key: dict[tuple[str, str, str | None], Group] = {}
    several = len(doc["clusters"]) > 1
    for pair in all_pairs(doc):
        for entry in pair["findings"]:
            kind = KINDS[entry["role"]]
            group = by_key.setdefault((kind, entry["slug"], entry["waived"]), Group(entry, kind))
            _add(group, entry, f"{pair['cluster']}: {entry['host']}" if several else entry["host"])
        for key in {(KINDS[e["role"]], e["slug"], e["waived"]) for e in pair["findings"]}:
            by_key[key].pairs += 1
    kinds = list(dict.fromkeys(KINDS.values()))
    return sorted(by_key.values(), key=lambda g: (kinds.index(g.kind), g.entry["role"] == "validity", g.entry["link"]))


def _add(group: Group, entry: Finding, host: str) -> None:
    texts = (entry["expected"], entry["observed"], entry["reason"], entry["remedy"])
    for place in group.places:
        if (place.expected, place.observed, place.reason, place.remedy) == texts:
            break
    else:
        place = Place(*texts)
        group.places.append(place)
    if host not in place.hosts:
        place.hosts.append(host)


def several(hosts: list[str], limit: int = HOSTS) -> str:
    """Hosts by name, and from a limit on by number."""
    more = len(hosts) - limit
    names = ", ".join(hosts[:limit])
    return say("{names} and {more} more", names=names, more=more) if more > 0 else names


def exit_meaning(doc: Verdict) -> str:
    """What the exit code of ansible-playbook says about this validation."""
    if doc["exit_code"] == 0 and doc["run_fails"]:
        return say("no pass: no task failed, but this run proved less than it should")
    if doc["exit_code"] == 0 and is_empty_shard(doc):
        return say("no cluster falls into this shard, and nothing was judged: merge it with the others")
    return {
        0: say("pairs were judged, and none failed"),
        2: say("a pair failed or was inconclusive, or a task failed (0: pairs were judged, and all passed)"),
        4: say("a host was unreachable, or Ansible could not go on (0: pairs were judged, and all passed)"),
    }.get(-1 if doc["exit_code"] is None else doc["exit_code"], say("Ansible's own"))


def chosen(doc: Verdict, limit: int = 8) -> tuple[list[Pair], list[Pair]]:
    """(pairs to show with their chains, pairs to show in a line): of many, passing ones take a line each.

    Passing pairs come first, failing ones last, nearest to where the reader's eye rests.
    """
    pairs = sorted(all_pairs(doc), key=lambda p: -ORDER.index(p["verdict"]))
    if len(pairs) <= limit:
        return pairs, []
    full = [p for p in pairs if p["verdict"] != PASS][-limit:]
    shown = {id(p) for p in full}
    return full, [p for p in pairs if id(p) not in shown]


def chosen_clusters(doc: Verdict, limit: int = 8) -> tuple[list[Cluster], Cluster | None]:
    """(clusters to show in a line, failing ones last; the others as if they were one).

    Of many, passing ones are only counted: their names stand with their pairs.
    """
    clusters = sorted(doc["clusters"], key=lambda c: -ORDER.index(c["verdict"]))
    passing = [c for c in clusters if c["verdict"] == PASS and not c["not_judged"]]
    if len(clusters) <= limit or len(passing) < 2:
        return clusters, None
    together = _cluster(say("{count} more", count=len(passing)), [pair for c in passing for pair in c["pairs"]], [])
    return [c for c in clusters if c["verdict"] != PASS or c["not_judged"]], together


def counts_line(cluster: Cluster) -> str:
    """How many pairs of a cluster have which verdict, in words."""
    judged = len(cluster["pairs"]) + len(cluster["not_judged"])
    counts = ", ".join(f"{n} {say(COUNTED[word])}" for word, n in cluster["counts"].items())
    return say("{count} pair: {counts}" if judged == 1 else "{count} pairs: {counts}", count=judged, counts=counts)


def cluster_line(cluster: Cluster) -> str:
    """Counts of a cluster in words, and where its first failing pair broke."""
    bad = [p for p in cluster["pairs"] if p["verdict"] == cluster["verdict"] != PASS and not p["waived"]]
    return counts_line(cluster) + (f";{where(bad[0])} {reason(bad[0], title=False)}" if bad else "")
