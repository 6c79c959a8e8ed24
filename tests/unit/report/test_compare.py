# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of each pair from one run to another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import verdicts
from kvproof.report.compare import compare, lines, markdown
from kvproof.report.run import Run

ROOT = Path(__file__).resolve().parents[3]
PLAYBOOK = Path(sys.executable).parent / "ansible-playbook"


def run(**pairs: str) -> dict:
    """A run of clusters, each with its pair's verdict by its fixture's name."""
    told = [verdicts.live(name, cluster=cluster) for cluster, name in pairs.items()]
    return verdicts.document(*told, exit_code=0)


def what(before: dict, after: dict) -> dict[str, str]:
    return {change["cluster"]: change["what"] for change in compare(before, after)["changes"]}


def test_what_becomes_of_pairs_worst_first():
    before = run(a="healthy", b="healthy", c="healthy", d="sync_loading", e="healthy", f="local_hit_decode")
    after = run(a="healthy", b="sync_loading", c="local_hit_decode", d="healthy", g="healthy", f="sync_loading")
    told = what(before, after)
    assert told == {
        "b": "newly broken",
        "c": "no longer proven",
        "e": "no longer judged",
        "d": "fixed",
        "g": "new",
        "a": "as before",
        "f": "as before",
    }
    assert list(told) == ["b", "c", "e", "d", "g", "a", "f"]


@pytest.mark.parametrize(
    ("before", "after", "worse"),
    [
        ({"a": "healthy"}, {"a": "healthy"}, False),
        ({"a": "healthy"}, {"a": "sync_loading"}, True),
        ({"a": "healthy"}, {"a": "local_hit_decode"}, True),
        ({"a": "healthy"}, {"b": "healthy"}, True),
        ({"a": "sync_loading"}, {"a": "sync_loading"}, False),
        ({"a": "sync_loading"}, {"a": "healthy"}, False),
        ({"a": "healthy"}, {"a": "healthy", "b": "sync_loading"}, False),
        ({}, {}, True),
    ],
)
def test_a_run_is_worse_where_something_was_lost(before, after, worse):
    assert compare(run(**before), run(**after))["worse"] is worse


def test_a_run_that_has_not_ended_is_no_better_than_none():
    told = compare(Run(verdicts.STARTED).document("incomplete"), run(a="healthy"), ("x", "y"))
    assert (told["worse"], told["problems"]) == (True, ["x: its run had not ended"])


def test_a_waived_pair_is_as_good_as_one_that_passes():
    waived = verdicts.document(verdicts.waived(cluster="a"), exit_code=0)
    assert what(run(a="healthy"), waived) == {"a": "as before"}


def timed(*reused_ms: float) -> dict:
    pair = verdicts.live("healthy", cluster="a")
    pair["trials"] = [{**pair["trials"][0], "reused_ttft_s": ms / 1000} for ms in reused_ms]
    return verdicts.document(pair, exit_code=0)


def test_times_that_lie_apart_are_told_and_others_are_not():
    told = lines(compare(timed(50, 52, 54), timed(150, 152, 154)))
    assert told[1:] == [
        "as before: a: prefill → decode",
        "  TTFT reused: 52 ms before, 152 ms after, slower in every trial",
    ]
    assert len(lines(compare(timed(50, 52, 154), timed(150, 152, 54)))) == 1


def test_settings_that_changed_explain_what_became_of_a_pair():
    rows = [{"setting": "chunk_size", "holder": "256", "receiver": "256", "differs": False}]
    after = verdicts.verdict("sync_loading", cluster="a", settings=[{**rows[0], "receiver": "128", "differs": True}])
    before = verdicts.document(verdicts.verdict("healthy", cluster="a", settings=rows), exit_code=0)
    told = compare(before, verdicts.document(after, exit_code=2))
    assert told["changes"][0]["settings"] == [
        {"setting": "chunk_size", "node": "receiver", "before": "256", "after": "128"}
    ]
    assert "  chunk_size of the receiver: 256 before, 128 after" in lines(told)
    assert "  - chunk_size of the receiver: 256 before, 128 after" in markdown(told)


def play(folder: Path, *words: str) -> subprocess.CompletedProcess:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("ANSIBLE_")}
    done = subprocess.run(
        [PLAYBOOK, "playbooks/compare.yml", "-e", f"kv_reuse_reports_dir={folder}/out", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**kept, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_HOME": str(folder / ".ansible")},
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done


@pytest.mark.slow
def test_the_playbook_says_it_and_fails_where_it_is_worse(tmp_path):
    for name, doc in (("a", run(t="healthy")), ("b", run(t="sync_loading"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "verdict.json").write_text(json.dumps(doc))
    worse = play(tmp_path, "-e", f"a={tmp_path}/a", "-e", f"b={tmp_path}/b/verdict.json")
    assert worse.returncode == 2
    assert "newly broken: t: prefill → decode" in worse.stdout
    assert json.loads((tmp_path / "out" / "compare.json").read_text())["worse"] is True
    assert (tmp_path / "out" / "compare.md").read_text().startswith("# ")
    better = play(tmp_path, "-e", f"a={tmp_path}/b", "-e", f"b={tmp_path}/a")
    assert better.returncode == 0, better.stdout
    assert "1 fixed" in better.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-e", "a=x"], "name the reports of the run after: -e b=FOLDER"),
        (["-e", "a=/nowhere", "-e", "b=/nowhere"], "it cannot be read (No such file or directory): correct a="),
        (["-e", "a=galaxy.yml", "-e", "b=galaxy.yml"], "this is no JSON"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, words, said):
    done = play(tmp_path, *words)
    assert done.returncode != 0
    assert said in " ".join((done.stdout + done.stderr).split())
