# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a benchmark's outcome goes: a page for people, a small JSON file to compare with; raw samples are not kept."""

from __future__ import annotations

import datetime
import json
import os
import platform
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"


def save(name: str, rows: list[dict[str, Any]], page: str) -> None:
    """Writes results/NAME.md and .json: the date, the machine, and one line for each row of medians and ratios."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(page, encoding="utf-8")
    (RESULTS / f"{name}.json").write_text(text(rows, datetime.date.today().isoformat()), encoding="utf-8")


def text(rows: list[dict[str, Any]], date: str) -> str:
    """The JSON file's text."""
    machine = json.dumps({"cores": os.cpu_count(), "processor": platform.machine()})
    lines = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in rows)
    return f'{{"date": "{date}", "machine": {machine}, "rows": [\n{lines}\n]}}\n'
