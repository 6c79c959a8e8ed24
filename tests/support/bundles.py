# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs over the evidence in fixtures/evidence, and their bundles."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

from kvproof.judge import waivers
from kvproof.judge.verdict import judge
from kvproof.report import bundle, views
from kvproof.report.run import Run

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "evidence"
STARTED, FINISHED = "2026-11-24T10:00:00+00:00", "2026-11-24T10:01:00+00:00"
TODAY = datetime.date(2026, 11, 24)


def evidence(name: str) -> dict:
    return json.loads((FIXTURES / f"{name}.json").read_text())["evidence"]


def ran(*names: str, waive=(), missing: int = 0, failure: str | None = None) -> tuple[Run, dict]:
    """A run over these pairs as the callback collects it, and its document."""
    run = Run(STARTED)
    pairs = [{"cluster": name, "holder": "prefill", "receiver": "decode"} for name in names]
    lost = [{"cluster": "demo", "holder": "p0", "receiver": f"d{number}"} for number in range(missing)]
    plan = {"pairs": pairs + lost, "skipped": [], "mode": "inventory", "run_id": "r1", "inconclusive": "fail"}
    counting, notes = waivers.active(waivers.plain(waive), TODAY)
    run.plan({**plan, "notes": notes, "bundle": True, "reports_dir": "/home/somebody/reports"})
    if failure:
        run.failure("d0", "Read the node", failure)
    for name in names:
        documents = [evidence(name)]
        judged_from = {"evidence": documents, "waive": waivers.plain(waive), "on": TODAY.isoformat()}
        run.verdicts(json.loads(json.dumps([judge(one, counting) for one in documents])), judged_from)
        run.note(notes)
    return run, run.document("complete", FINISHED, 0 if names == ("healthy",) else 2)


def packed(run: Run, doc: dict) -> bytes:
    return bundle.pack(run, doc, views.verdict(doc))
