# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""kv_reuse.sarif: the findings as SARIF 2.1.0 (OASIS), for code scanning and viewers of static analysis.

A rule is a finding that kvproof can look for; a result is a finding of a pair.  Pairs are logical locations within
their clusters.  What belongs to no finding (pairs without a verdict, a run cut short) is a notification of the run.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import quote

from ...judge.findings import Finding, all_findings
from ...judge.verdict import doc_page
from .. import document
from ..parts import Pair, Place, Verdict
from .issues import Issue, Unproven, issues, unproven

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
ROOT = "PROJECTROOT"  # the base of paths within the operator's project
_DEFAULT_LEVEL = {"failure": "error", "cause": "error", "validity": "error", "note": "note"}
_LEVEL = {**_DEFAULT_LEVEL, "warning": "warning"}


def render(doc: Verdict) -> str:
    places = _LogicalLocations()
    rules = _rules()
    index = {rule["id"]: number for number, rule in enumerate(rules)}
    results = [_result(issue, index, places) for issue in issues(doc)]
    run: dict[str, Any] = {
        "tool": {
            "driver": {"name": "kvproof", "version": doc["tool"], "semanticVersion": doc["tool"], "rules": rules},
        },
        "automationDetails": {"id": f"kv_reuse/{doc['run_id'] or doc['started_at']}"},
        "invocations": [_invocation(doc, places)],
        "originalUriBaseIds": {ROOT: {"description": {"text": "The folder of the project that was validated from"}}},
        "columnKind": "utf16CodeUnits",
        "results": results,
        "logicalLocations": places.all,
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


@cache
def _rules() -> list[dict[str, Any]]:
    return [_rule(finding) for finding in all_findings() if finding.look]


def _rule(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.slug,
        "name": "".join(word.capitalize() for word in finding.slug.split("-")),
        "shortDescription": {"text": f"{finding.title}."},
        "fullDescription": {"text": finding.meaning},
        "help": {
            "text": f"{finding.remedy}\nSeen by: {finding.evidence}",
            "markdown": f"{finding.remedy}\n\nSeen by: {finding.evidence}",
        },
        "defaultConfiguration": {"level": _DEFAULT_LEVEL[finding.kind]},
        "properties": {"tags": ["kv-cache", *finding.architectures], "link": finding.link, "page": doc_page(finding)},
    }


def _result(issue: Issue, index: dict[str, int], places: _LogicalLocations) -> dict[str, Any]:
    finding = issue.finding
    result: dict[str, Any] = {
        "ruleId": finding["slug"],
        "level": "warning" if issue.accepted else _LEVEL[finding["role"]],
        "message": {"text": f"{issue.text}. Why: {finding['reason']}. To do: {finding['remedy']}"},
        "locations": [_location(issue.place, places.host(issue.pair, finding["host"]))],
        # GitHub follows a result over runs by this name alone
        "partialFingerprints": {"primaryLocationLineHash": issue.fingerprint, "kvproofFinding/v1": issue.fingerprint},
        "properties": {
            "verdict": issue.pair["verdict"],
            "role": finding["role"],
            "link": finding["link"],
            "expected": finding["expected"],
            "observed": issue.observed,
        },
    }
    if finding["slug"] in index:
        result["ruleIndex"] = index[finding["slug"]]
    if issue.accepted:
        result["suppressions"] = [{"kind": "external", "status": "accepted", "justification": issue.accepted}]
    return result


def _invocation(doc: Verdict, places: _LogicalLocations) -> dict[str, Any]:
    unsettled = list(unproven(doc))
    invocation: dict[str, Any] = {
        "executionSuccessful": doc["status"] == "complete" and not unsettled,
        "startTimeUtc": _utc(doc["started_at"]),
        "toolExecutionNotifications": [
            *(_notification("error", what.text, what.kind, _of_unproven(what, places)) for what in unsettled),
            *(_notification("note", text) for text in doc["notes"]),
        ],
    }
    if doc["finished_at"]:
        invocation["endTimeUtc"] = _utc(doc["finished_at"])
    if doc["exit_code"] is not None:
        invocation["exitCode"] = doc["exit_code"]
        invocation["exitCodeDescription"] = document.exit_meaning(doc)
    return invocation


def _notification(
    level: str, text: str, kind: str | None = None, location: dict[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "level": level,
        "message": {"text": text},
        **({"descriptor": {"id": kind}} if kind else {}),
        **({"locations": [location]} if location else {}),
    }


def _of_unproven(what: Unproven, places: _LogicalLocations) -> dict[str, Any]:
    return _location(what.place, places.within(*what.names[:1], " → ".join(what.names[1:])) if what.names else None)


def _location(place: Place, logical: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": quote(place["path"]), "uriBaseId": ROOT},
            "region": {"startLine": place["line"]},
        },
        **({"logicalLocations": [logical]} if logical else {}),
    }


class _LogicalLocations:
    """The run's clusters, pairs and hosts, each once, which results name by their index."""

    def __init__(self) -> None:
        self.all: list[dict[str, Any]] = []
        self._index: dict[tuple[str, ...], int] = {}

    def host(self, pair: Pair, host: str) -> dict[str, Any]:
        return self.within(pair["cluster"], document.pair_name(pair), host)

    def within(self, *names: str) -> dict[str, Any]:
        """The last of these names, each within the one before."""
        parent: int | None = None
        for depth, name in enumerate(names, start=1):
            place = names[:depth]
            if place not in self._index:
                self._index[place] = len(self.all)
                within = {} if parent is None else {"parentIndex": parent}
                self.all.append({"name": name, "fullyQualifiedName": "/".join(place), "kind": "resource", **within})
            parent = self._index[place]
        return {"index": parent, "fullyQualifiedName": "/".join(names)}


def _utc(moment: str) -> str:
    return datetime.fromisoformat(moment).astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
