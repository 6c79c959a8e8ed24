# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One document of several runs' verdict.json.  No I/O, no Ansible.

What is missing, unreadable or unfinished becomes a problem of the merged run, so that it cannot be green without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..plan.pair import key_of, names_of
from . import document as report

FAMILY = report.SCHEMA.rpartition("/")[0]
_PAIR = {
    "cluster": str, "holder": str, "receiver": str, "verdict": str, "waived": bool, "links": list, "findings": list,
    "trials": list, "counts": dict, "output": dict, "counters": dict,
}  # fmt: skip
_RUN = {"started_at": str, "status": str, "clusters": list, "not_probed": list, "problems": list, "notes": list}
_CLUSTER = {"pairs": list, "not_judged": list}
_UNJUDGED = {"cluster": str, "holder": str, "receiver": str, "reason": str}


@dataclass
class Source:
    """A report that was read: its name for messages, and its document or why there is none."""

    name: str
    doc: Any = None
    trouble: str | None = None


@dataclass
class _Entry:
    """What one run says about one pair: its verdict, or why it has none."""

    source: Source
    pair: dict
    judged: bool

    @property
    def span(self) -> tuple[datetime, datetime]:
        return _span(self.source.doc)

    def __str__(self) -> str:
        word = report.WORDS[self.pair["verdict"]] if self.judged else "not judged"
        return f"{word} ({self.source.name}, {self.span[1].isoformat(timespec='seconds')})"


def merge(sources: list[Source], expected: list[str], inconclusive: str = "fail", now: str | None = None) -> dict:
    """``kvproof.verdict/1`` of all sources.

    Of a pair that several runs judged, the latest verdict counts and the others are told.  expected: clusters that
    must be there.  now: the time, for a document of nothing.
    """
    problems = [f"{one.name}: {trouble}" for one in sources if (trouble := one.trouble or why_not(one.doc))]
    good = [one for one in sources if one.trouble is None and why_not(one.doc) is None]
    for one in good:
        problems += _unfinished(one)
    entries, notes = _latest(good, problems)
    pairs = [entry.pair for entry in entries.values() if entry.judged]
    missing = [entry.pair for entry in entries.values() if not entry.judged]
    known = {key[0] for key in entries}
    problems += [
        f"cluster {name} is in none of the reports: add the report of its run, or validate it"
        for name in dict.fromkeys(expected)
        if name not in known
    ]
    if not sources:
        problems.append("there is no report to merge: give reports=[folder or verdict.json, …]")
    skipped = {key_of(one): one for source in good for one in source.doc["not_probed"]}
    spans = [_span(one.doc) for one in good]
    now = now or datetime.now(UTC).isoformat(timespec="seconds")
    doc = report.document(
        status="complete",
        started_at=min(spans)[0].isoformat() if spans else now,
        finished_at=max(end for _, end in spans).isoformat() if spans else now,
        pairs=pairs,
        not_judged=missing,
        skipped=[one for key, one in skipped.items() if key not in entries],
        problems=list(dict.fromkeys(problems)),
        notes=[*_about(good), *notes, *dict.fromkeys(text for one in good for text in one.doc["notes"])],
        inconclusive=inconclusive,
    )
    return {**doc, "exit_code": 2 if doc["run_fails"] else 0}


def why_not(doc: Any) -> str | None:
    """Why a document cannot be merged, in a few words; None when it can."""
    schema = doc.get("schema") if isinstance(doc, dict) else None
    if not isinstance(schema, str) or not schema.startswith(f"{FAMILY}/"):
        return "this is no verdict.json of kvproof: leave it out, or name the right file"
    if schema != report.SCHEMA:
        return f"it is {schema}, and this kvproof reads {report.SCHEMA}: merge with the kvproof that wrote it"
    trouble = _unlike(doc, _RUN)
    for cluster in [] if trouble else doc["clusters"]:
        trouble = trouble or _unlike(cluster, _CLUSTER)
        if not trouble:
            told = [_unlike(one, _PAIR) or _unknown_word(one) for one in cluster["pairs"]]
            told += [_unlike(one, _UNJUDGED) for one in cluster["not_judged"]]
            trouble = next((one for one in told if one), None)
    trouble = trouble or next((one for one in (_unlike(pair, _UNJUDGED) for pair in doc["not_probed"]) if one), None)
    try:
        _span(doc)
    except (KeyError, TypeError, ValueError):
        trouble = trouble or "its times"
    return f"it is damaged ({trouble}): take the file as it was written, or validate again" if trouble else None


def _unlike(part: Any, fields: dict[str, type]) -> str | None:
    """The first field that is not of the type it should have."""
    if not isinstance(part, dict):
        return f"{part!r:.40}"
    return next((name for name, kind in fields.items() if not isinstance(part.get(name), kind)), None)


def _unknown_word(pair: dict) -> str | None:
    return None if pair["verdict"] in report.ORDER else f"verdict {pair['verdict']!r:.40}"


def _unfinished(source: Source) -> list[str]:
    """Why a run is no pass although nothing of it belongs to a pair."""
    doc = source.doc
    if doc["status"] != "complete":
        return [f"{source.name}: its run had not ended (begun {doc['started_at']}): validate again"]
    told = [f"{source.name}: {text}" for text in doc["problems"]]
    anything = any(cluster["pairs"] or cluster["not_judged"] for cluster in doc["clusters"])
    return told or ([] if anything else [f"{source.name}: its run judged no pair"])


def _latest(sources: list[Source], problems: list[str]) -> tuple[dict[tuple, _Entry], list[str]]:
    """The entry that counts for each pair, and sentences about those that gave way."""
    entries: dict[tuple, _Entry] = {}
    notes = []
    for source in sorted(sources, key=lambda one: _span(one.doc)[1]):
        for new in _entries(source):
            key = key_of(new.pair)
            old = entries.get(key)
            entries[key] = new
            if old is None:
                continue
            name = f"{new.pair['cluster']}: {report.pair_name(new.pair)}"
            notes.append(f"{name} is in several reports: {old} gave way to {new}")
            if _same_time(old, new):
                problems.append(
                    f"{name} was judged by two runs at the same time ({old.source.name}, {source.name}): if these are "
                    "two clusters of one name, give them different kv_reuse_cluster; else leave one report out"
                )
    return entries, notes


def _entries(source: Source) -> list[_Entry]:
    clusters = source.doc["clusters"]
    return [_Entry(source, pair, True) for one in clusters for pair in one["pairs"]] + [
        _Entry(source, {**names_of(pair), "reason": pair["reason"]}, False)
        for one in clusters
        for pair in one["not_judged"]
    ]


def _same_time(old: _Entry, new: _Entry) -> bool:
    """Whether two different runs overlap: then none of them is the later one, and they may be of two clusters."""
    if old.source.doc == new.source.doc:
        return False
    return new.span[0] < old.span[1] and old.span[0] < new.span[1]


def _about(sources: list[Source]) -> list[str]:
    if not sources:
        return []
    spans = [_span(one.doc) for one in sources]
    first, last = min(spans)[0], max(end for _, end in spans)
    found = [
        f"merged from {len(sources)} report{'s' * (len(sources) != 1)} of runs between "
        f"{first.isoformat(timespec='seconds')} and {last.isoformat(timespec='seconds')}"
    ]
    tools = sorted({str(one.doc.get("tool")) for one in sources})
    return found + ([f"the reports are of different versions of kvproof: {', '.join(tools)}"] if tools[1:] else [])


def _span(doc: dict) -> tuple[datetime, datetime]:
    """When a run began and ended (or began, where it has not ended).  Raises ValueError."""
    began = datetime.fromisoformat(doc["started_at"].replace("Z", "+00:00"))
    ended = datetime.fromisoformat((doc.get("finished_at") or doc["started_at"]).replace("Z", "+00:00"))
    if began.tzinfo is None or ended.tzinfo is None:
        raise ValueError("a time without its zone")
    return began, ended
