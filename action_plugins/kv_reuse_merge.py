# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Merges the verdict.json of several runs into one report, and fails when the merged run is no pass."""

from __future__ import annotations

import glob
import json
import sys
from pathlib import Path

from ansible.plugins.action import ActionBase

try:
    from ..module_utils.kvproof.plan import topology
    from ..module_utils.kvproof.report import document as report
    from ..module_utils.kvproof.report import files as reportfiles
    from ..module_utils.kvproof.report import views
    from ..module_utils.kvproof.report.merge import Source, merge
except ImportError:  # in place the tree is no package: the core lies beside this folder
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "module_utils"))
    from kvproof.plan import topology
    from kvproof.report import document as report
    from kvproof.report import files as reportfiles
    from kvproof.report import views
    from kvproof.report.merge import Source, merge

ENGINES = [group for group, role in topology.GROUPS.items() if role != "controller"]


class ActionModule(ActionBase):
    """Runs on the controller, reads the files named and writes the reports."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset(("reports", "expect", "inconclusive", "reports_dir"))

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        args, task_vars = self._task.args, task_vars or {}
        unknown = set(args) - self._VALID_ARGS
        if unknown:
            return dict(result, failed=True, msg=f"kv_reuse_merge: unknown argument {', '.join(sorted(unknown))}")
        inconclusive = str(args.get("inconclusive") or "fail")
        if inconclusive not in ("fail", "warn"):
            return dict(result, failed=True, msg=f"kv_reuse_inconclusive is {inconclusive!r}; use fail or warn")
        folder = Path(str(args.get("reports_dir") or "reports/merged")).expanduser().absolute()
        files = [path for word in _listed(args.get("reports")) for path in _files(word)]
        if any(path.absolute() == folder / views.VERDICT for path in files):
            return dict(result, failed=True, msg=f"kv_reuse_merge: {folder} is both read and written; name another "
                                                 "folder with kv_reuse_reports_dir")  # fmt: skip
        expected = _listed(args.get("expect")) or _clusters(task_vars)
        doc = merge([_read(path) for path in dict.fromkeys(files)], expected, inconclusive)
        written, problems = ([], []) if self._task.check_mode else reportfiles.write(folder, doc)
        result.update(changed=False, kv_reuse_merged=doc, kv_reuse_reports=written, kv_reuse_reports_dir=str(folder))
        if doc["run_fails"] or problems:
            result.update(failed=True, msg="; ".join([*doc["problems"], *_failing(doc), *problems]))
        return result


def _listed(value) -> list[str]:
    """A list, or the words of a text between commas, as -e NAME=a,b gives them."""
    words = value.split(",") if isinstance(value, str) else value or []
    return [str(word).strip() for word in words if str(word).strip()]


def _files(word: str) -> list[Path]:
    """The files that a path, a folder or a pattern means; a pattern that fits nothing is told as it stands."""
    found = [Path(path) for path in sorted(glob.glob(str(Path(word).expanduser()), recursive=True))] or [Path(word)]
    return [path / views.VERDICT if path.is_dir() else path for path in found]


def _read(path: Path) -> Source:
    try:
        return Source(str(path), json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        return Source(str(path), trouble=f"it cannot be read ({error.strerror}): correct reports=")
    except (ValueError, RecursionError):
        return Source(str(path), trouble="this is no JSON: leave it out, or name the right file")


def _clusters(task_vars: dict) -> list[str]:
    """The clusters of the inventory's engines."""
    groups, hostvars = task_vars.get("groups") or {}, task_vars.get("hostvars") or {}
    hosts = dict.fromkeys(host for group in ENGINES for host in groups.get(group) or [])
    return sorted({str(hostvars[host].get("kv_reuse_cluster") or "default") for host in hosts})


def _failing(doc: dict) -> list[str]:
    bad = [report.headline(pair) for pair in report.all_pairs(doc) if report.pair_fails(pair, doc["inconclusive"])]
    lost = [
        f"{one['cluster']}: {report.pair_name(one)} not judged: {one['reason']}"
        for cluster in doc["clusters"]
        for one in cluster["not_judged"]
    ]
    return bad + lost
