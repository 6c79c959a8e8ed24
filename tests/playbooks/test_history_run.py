# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs that are kept, and what a later one says of them: a cluster is healthy, breaks, and is healthy again."""

from __future__ import annotations

import json
import re

import pytest
from callback_project import judged
from kvproof.report import history
from validation import validated
from verdict_schema import errors

pytest.importorskip("ansible")

HEALTHY, BROKEN = {}, {"d": {"lmcache": {"enable_p2p": False}}}
PAIR = "bundled: node-p → node-d"


def said(text: str) -> str:
    """Without the breaks of lines."""
    return " ".join(text.split())


def test_a_cluster_breaks_and_is_mended(tmp_path):
    kept = tmp_path / "kept" / "runs"

    def run(changes: dict, *words: str) -> tuple[str, dict, str, str]:
        done = validated(tmp_path, changes, "-e", f"kv_reuse_history={kept}", *words)
        assert "Traceback" not in done.stdout + done.stderr
        reports = tmp_path / "reports"
        doc = json.loads((reports / "verdict.json").read_text())
        assert errors(doc) == []
        return said(done.stdout), doc, (reports / "summary.md").read_text(), (reports / "index.html").read_text()

    def changes(doc: dict) -> list[tuple]:
        return [(c["what"], c["was"], c["now"]) for c in doc["history"]["changes"]]

    told, doc, summary, page = run(HEALTHY)
    assert (doc["verdict"], changes(doc)) == ("pass", [("new", None, "pass")])
    for text in (told, summary, page):
        assert "there is nothing to compare with yet" in text
    (first,) = [path.name for path in kept.iterdir()]
    assert history.is_name(first)

    told, doc, summary, page = run(BROKEN)
    assert (doc["verdict"], changes(doc)) == ("fail", [("newly broken", "pass", "fail")])
    for text in (told, summary, page):
        assert "1 newly broken" in text
        assert f"{PAIR} is newly broken: it was PASS on 20" in text
        assert "enable_p2p of the receiver: True before, False after" in text
    assert "Verdicts, oldest first: pass, fail" in page
    assert told.index("cluster bundled FAIL") < told.index("newly broken") < told.index(" ✗ p2p-disabled")

    told, doc, summary, page = run(HEALTHY)
    assert (doc["verdict"], changes(doc)) == ("pass", [("fixed", "fail", "pass")])
    for text in (told, summary, page):
        assert f"{PAIR} is fixed: it was FAIL on 20" in text
    (past,) = doc["history"]["pairs"]
    assert [point["verdict"] for point in past["earlier"]] == ["pass", "fail"]
    assert past["earlier"][0]["reused_ttft_s"] > 0
    assert past["earlier"][1]["reused_ttft_s"] is None
    assert "Verdicts, oldest first: pass, fail, pass" in page
    assert re.search(r'<path class="past-line" d="M\d', page)
    names = sorted(path.name for path in kept.iterdir())
    assert len(names) == 3
    assert names[0] == first

    told, doc, *_ = run(HEALTHY, "--check")
    assert "history" not in doc
    assert "ince the last run" not in told
    assert sorted(path.name for path in kept.iterdir()) == names


def test_a_number_that_keeps_nothing_is_refused(tmp_path):
    done = validated(tmp_path, HEALTHY, "-e", "kv_reuse_history=kept", "-e", "kv_reuse_history_keep=0")
    assert done.returncode == 2
    assert "kv_reuse_history_keep is 0; use a number of runs, 1 or more" in said(done.stdout)


def test_as_many_runs_are_kept_as_asked_for(project):
    project.inventory({"history": {"folder": "kept", "keep": 2}}, prefill={}, decode=judged("healthy"))
    (project.folder / "kept").mkdir()
    (project.folder / "kept" / "notes.json").write_text("{}")
    for _ in range(3):
        assert project.run().returncode == 0
    kept = sorted(path.name for path in (project.folder / "kept").iterdir())
    assert len(kept) == 3
    assert kept[-1] == "notes.json"
    assert all(map(history.is_name, kept[:2]))


@pytest.mark.parametrize("how", ["a file", "below a file"])
def test_a_folder_that_cannot_be_written_is_a_warning_that_says_what_to_do(project, how):
    (project.folder / "kept").write_text("a file")
    folder = "kept" if how == "a file" else "kept/below"
    project.inventory({"history": {"folder": folder, "keep": 2}}, prefill={}, decode=judged("healthy"))
    done = project.run()
    assert done.returncode == 0
    assert done.stderr.count("WARNING") == 1
    warned = said(done.stderr)
    assert "kv_reuse_history: cannot make the folder" in warned
    assert "set kv_reuse_history to another folder" in warned
    assert "Traceback" not in done.stdout + done.stderr
    assert project.report()["verdict"] == "pass"


def test_damaged_files_are_one_note_and_stay(project):
    project.inventory({"history": {"folder": "kept", "keep": 50}}, prefill={}, decode=judged("healthy"))
    assert project.run().returncode == 0
    (good,) = (project.folder / "kept").iterdir()
    broken = {
        "kv_reuse-20200101T000000Z-a.json": good.read_text()[:100],
        "kv_reuse-20200101T000000Z-b.json": json.dumps({**json.loads(good.read_text()), "schema": "kvproof.history/9"}),
    }
    for name, text in broken.items():
        (good.parent / name).write_text(text)
    done = project.run()
    assert done.returncode == 0
    (note,) = [note for note in project.report()["notes"] if "kv_reuse_history" in note]
    assert "Z-a.json: this is no JSON" in note
    assert "Z-b.json: it is kvproof.history/9, and this kvproof reads kvproof.history/1" in note
    assert "Nothing changed since the last run" in said(done.stdout)
    assert {name: (good.parent / name).read_text() for name in broken} == broken
