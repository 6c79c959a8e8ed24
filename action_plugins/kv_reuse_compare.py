# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares the verdict.json of two runs, and fails when the second one is the worse."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, ClassVar

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "module_utils")]  # see plugin_utils
from kvproof.report import compare
from kvproof.report import files as report_files
from kvproof.report.merge import opened
from kvproof.report.views.clean import cleaned

from plugin_utils import report_files as reports
from plugin_utils.base import ControllerAction, Refused


class ActionModule(ControllerAction):
    """Reads two files and writes compare.json and compare.md."""

    SPEC: ClassVar = {
        "a": {"type": "str", "required": True},
        "b": {"type": "str", "required": True},
        "reports_dir": {"type": "str", "default": "reports/compared"},
    }

    def answer(self, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        before, after = (self._read(args[name], name) for name in ("a", "b"))
        result = compare.compare(before, after, (args["a"], args["b"]))
        told, folder = compare.lines(result), Path(args["reports_dir"]).expanduser().absolute()
        texts = {
            "compare.json": json.dumps(result, indent=1, ensure_ascii=False) + "\n",
            "compare.md": compare.markdown(result),
        }
        written, problems = ([], []) if self._task.check_mode else report_files.write_texts(folder, texts)
        for line in told:
            self._display.display(line)
        answer = {"kv_reuse_compared": result, "kv_reuse_reports": [str(folder / name) for name in written]}
        if result["worse"] or problems:
            answer.update(failed=True, msg="; ".join([told[0], *problems]))
        return answer

    @staticmethod
    def _read(word: str, option: str) -> Any:
        """A run's document, made harmless for a terminal.  Refuses with one sentence."""
        (path, *more) = reports.paths(word)
        if more:
            raise Refused(f"kv_reuse_compare: {option}={word} means {1 + len(more)} files: name one run")
        report, trouble = opened(reports.read(path, option))
        if report is None:
            raise Refused(f"kv_reuse_compare: {path}: {trouble}")
        return cleaned(report.doc)
