# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One document of several runs' verdict.json.  No I/O, no Ansible.

What is missing, unreadable or unfinished becomes a problem of the merged run, so that it cannot be green without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from typing import Any

from ..plan import shard as shards
from ..plan.pair import Key, SkippedPair, key_of, names_of
from . import document, history, parts
from .parts import Inconclusive, Pair, Verdict

FAMILY = parts.SCHEMA.rpartition("/")[0]


@dataclass
class Source:
    """A file that was read: its name for messages, and its JSON or why there is none."""

    name: str
    doc: Any = None
    trouble: str | None = None


@dataclass
class Report:
    """A source that holds a run's document."""

    name: str
    doc: Verdict

    @property
    def began(self) -> datetime:
        return datetime.fromisoformat(self.doc["started_at"])

    @property
    def ended(self) -> datetime:
        """When the run ended, or began where it has not ended."""
        return datetime.fromisoformat(self.doc["finished_at"] or self.doc["started_at"])

    def problems(self) -> list[str]:
        """Why the run is no pass although nothing of it belongs to a pair."""
        if self.doc["status"] != "complete":
            return [f"{self.name}: its run had not ended (begun {self.doc['started_at']}): validate again"]
        anything = any(cluster["pairs"] or cluster["not_judged"] for cluster in self.doc["clusters"])
        anything = anything or document.is_empty_shard(self.doc)
        texts = self.doc["problems"] or ([] if anything else ["its run judged no pair"])
        return [f"{self.name}: {text}" for text in texts]

    def entries(self) -> list[_Entry]:
        clusters = self.doc["clusters"]
        judged = [_Entry(self, pair, pair, None) for cluster in clusters for pair in cluster["pairs"]]
        missing = [pair for cluster in clusters for pair in cluster["not_judged"]]
        return judged + [_Entry(self, pair, None, {**names_of(pair), "reason": pair["reason"]}) for pair in missing]


@dataclass
class _Entry:
    """What one run says about one pair: its verdict, or why it has none."""

    report: Report
    pair: Pair | SkippedPair
    judged: Pair | None
    missing: SkippedPair | None

    def overlaps(self, other: _Entry) -> bool:
        """Whether two different runs overlap: then none of them is the later one, and they may be of two clusters."""
        mine, its = self.report, other.report
        return mine.doc != its.doc and its.began < mine.ended and mine.began < its.ended

    def __str__(self) -> str:
        word = document.WORDS[self.judged["verdict"]] if self.judged else "not judged"
        return f"{word} ({self.report.name}, {self.report.ended.isoformat(timespec='seconds')})"


def merge(
    sources: list[Source], expected: list[str], inconclusive: Inconclusive = "fail", now: str | None = None
) -> Verdict:
    """``kvproof.verdict/1`` of all sources.

    Of a pair that several runs judged, the latest verdict counts and a note names the others.  expected: clusters
    that must be there.  now: the time, for a document of nothing.
    """
    problems, reports = [], []
    for source in sources:
        report, trouble = opened(source)
        if report:
            reports.append(report)
        else:
            problems.append(f"{source.name}: {trouble}")
    problems += [text for report in reports for text in report.problems()]
    entries, notes = _latest(reports, problems)
    known = {key[0] for key in entries}
    problems += [
        f"cluster {name} is in none of the reports: add the report of its run, or validate it"
        for name in dict.fromkeys(expected)
        if name not in known
    ]
    problems += shards.gaps([(report.name, report.doc["shard"]) for report in reports if "shard" in report.doc])
    if not sources:
        problems.append("there is no report to merge: give reports=[folder or verdict.json, …]")
    skipped = {key_of(pair): pair for report in reports for pair in report.doc["not_probed"]}
    now = now or datetime.now(UTC).isoformat(timespec="seconds")
    doc = document.document(
        status="complete",
        started_at=min(report.began for report in reports).isoformat() if reports else now,
        finished_at=max(report.ended for report in reports).isoformat() if reports else now,
        pairs=[entry.judged for entry in entries.values() if entry.judged],
        not_judged=[entry.missing for entry in entries.values() if entry.missing],
        skipped=[pair for key, pair in skipped.items() if key not in entries],
        problems=list(dict.fromkeys(problems)),
        notes=[*_about(reports), *notes, *dict.fromkeys(text for report in reports for text in report.doc["notes"])],
        inconclusive=inconclusive,
        places=reduce(document.together, [report.doc.get("places") for report in reports], None),
    )
    doc["exit_code"] = 2 if doc["run_fails"] else 0
    past = history.together(
        (report.doc["history"], {key for key, entry in entries.items() if entry.report is report})
        for report in reports
        if "history" in report.doc
    )
    if past:
        doc["history"] = past
    return doc


def opened(source: Source) -> tuple[Report | None, str | None]:
    """The report in a source, or one sentence on why there is none."""
    if source.trouble:
        return None, source.trouble
    schema = source.doc.get("schema") if isinstance(source.doc, dict) else None
    if not isinstance(schema, str) or not schema.startswith(f"{FAMILY}/"):
        return None, "this is no verdict.json of kvproof: leave it out, or name the right file"
    if schema != parts.SCHEMA:
        schema = schema.encode("unicode_escape").decode()
        return None, f"it is {schema:.60}, and this kvproof reads {parts.SCHEMA}: merge with the kvproof that wrote it"
    doc, damage = parts.read(source.doc)
    if doc is None:
        return None, f"it is damaged ({damage}): take the file as it was written, or validate again"
    return Report(source.name, doc), None


def _latest(reports: list[Report], problems: list[str]) -> tuple[dict[Key, _Entry], list[str]]:
    """The entry that counts for each pair, and sentences about those that gave way."""
    entries: dict[Key, _Entry] = {}
    notes = []
    for report in sorted(reports, key=lambda report: report.ended):
        for new in report.entries():
            key = key_of(new.pair)
            old = entries.get(key)
            entries[key] = new
            if old is None:
                continue
            name = f"{new.pair['cluster']}: {document.pair_name(new.pair)}"
            notes.append(f"{name} is in several reports: {old} gave way to {new}")
            if old.overlaps(new):
                problems.append(
                    f"{name} was judged by two runs at the same time ({old.report.name}, {report.name}): if these are "
                    "two clusters of one name, give them different kv_reuse_cluster; else leave one report out"
                )
    return entries, notes


def _about(reports: list[Report]) -> list[str]:
    if not reports:
        return []
    first, last = min(report.began for report in reports), max(report.ended for report in reports)
    span = f"{first.isoformat(timespec='seconds')} and {last.isoformat(timespec='seconds')}"
    one, count = len(reports) == 1, len(reports)
    notes = [
        f"merged from 1 report of runs between {span}" if one else f"merged from {count} reports of runs between {span}"
    ]
    tools = sorted({report.doc["tool"] for report in reports})
    return notes + ([f"the reports are of different versions of kvproof: {', '.join(tools)}"] if tools[1:] else [])
