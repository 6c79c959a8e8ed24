# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""gl-code-quality-report.json: what GitLab shows in a merge request (artifacts:reports:codequality).

GitLab compares it by fingerprint with the target branch's, so notes, which come and go with the load, are not in it.
"""

from __future__ import annotations

import json
from typing import Any

from ..parts import Place, Verdict
from .issues import Issue, issues, unproven

_SEVERITY = {"failure": "blocker", "cause": "critical", "validity": "major", "warning": "minor"}


def render(doc: Verdict) -> str:
    found = [_of_finding(issue) for issue in issues(doc) if issue.finding["role"] in _SEVERITY]
    found += [_entry(what.kind, what.text, what.fingerprint, "major", what.place) for what in unproven(doc)]
    return json.dumps(found, indent=1) + "\n"


def _of_finding(issue: Issue) -> dict[str, Any]:
    finding, severity = issue.finding, _SEVERITY[issue.finding["role"]]
    if issue.accepted:
        severity = "info"
    why = f"Accepted: {issue.accepted}" if issue.accepted else f"To do: {finding['remedy']}"
    return _entry(finding["slug"], f"{issue.text}. {why}", issue.fingerprint, severity, issue.place)


def _entry(name: str, text: str, fingerprint: str, severity: str, place: Place) -> dict[str, Any]:
    return {
        "description": text,
        "check_name": name,
        "fingerprint": fingerprint,
        "severity": severity,
        "location": {"path": place["path"], "lines": {"begin": place["line"]}},
    }
