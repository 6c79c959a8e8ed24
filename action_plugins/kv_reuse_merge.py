# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Merges the verdict.json of several runs into one report, and fails when the merged run is no pass."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, ClassVar

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "module_utils")]  # see plugin_utils
from kvproof.plan import topology
from kvproof.report import document, views
from kvproof.report import files as report_files
from kvproof.report.merge import merge

from plugin_utils import languages
from plugin_utils import report_files as reports
from plugin_utils.base import ControllerAction, Refused

ENGINES = [group for group, role in topology.GROUPS.items() if role != "controller"]


class ActionModule(ControllerAction):
    """Reads the files named and writes the reports."""

    SPEC: ClassVar = {
        "reports": {"type": "raw", "required": True},
        "expect": {"type": "raw"},
        "inconclusive": {"type": "str", "choices": ["fail", "warn"], "default": "fail"},
        "reports_dir": {"type": "str", "default": "reports/merged"},
        "lang": languages.OPTION,
        "formats": {"type": "list", "elements": "str", "choices": [*views.FORMATS], "default": []},
    }

    def answer(self, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        folder = Path(args["reports_dir"] or "reports/merged").expanduser().absolute()
        files = [path for word in _listed(args["reports"]) for path in reports.paths(word)]
        if any(path.absolute() == folder / views.VERDICT for path in files):
            raise Refused(
                f"kv_reuse_merge: {folder} is both read and written; name another folder with kv_reuse_reports_dir"
            )
        expected = _listed(args["expect"]) or _clusters(task_vars)
        doc = merge(
            [reports.read(path, "reports") for path in dict.fromkeys(files)], expected, args["inconclusive"] or "fail"
        )
        lang, warnings = languages.spoken(args["lang"])
        asked = views.asked(args["formats"] or [], os.environ)
        formats = [name for name in asked if name != "trace"]  # which is of one run
        written, problems = ([], []) if self._task.check_mode else report_files.write(folder, doc, formats, lang)
        result = {
            "kv_reuse_merged": doc,
            "kv_reuse_reports": written,
            "kv_reuse_reports_dir": str(folder),
            "kv_reuse_lang": lang,
            **({"warnings": warnings} if warnings else {}),
        }
        if doc["run_fails"] or problems:
            result.update(failed=True, msg="; ".join([*doc["problems"], *_failing(doc), *problems]))
        return result


def _listed(value) -> list[str]:
    """A list, or the words of a text between commas, as -e NAME=a,b gives them."""
    words = value.split(",") if isinstance(value, str) else value or []
    return [str(word).strip() for word in words if str(word).strip()]


def _clusters(task_vars: dict) -> list[str]:
    """The clusters of the inventory's engines."""
    groups, hostvars = task_vars.get("groups") or {}, task_vars.get("hostvars") or {}
    hosts = dict.fromkeys(host for group in ENGINES for host in groups.get(group) or [])
    return sorted({str(hostvars[host].get("kv_reuse_cluster") or "default") for host in hosts})


def _failing(doc: dict) -> list[str]:
    pairs = [pair for pair in document.all_pairs(doc) if document.pair_fails(pair, doc["inconclusive"])]
    bad = [document.headline(pair) for pair in pairs]
    lost = [
        f"{pair['cluster']}: {document.pair_name(pair)} not judged: {pair['reason']}"
        for cluster in doc["clusters"]
        for pair in cluster["not_judged"]
    ]
    return bad + lost
