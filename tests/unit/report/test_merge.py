# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""Reports of several runs as one: the latest verdict counts, and nothing that is missing is hidden."""

from __future__ import annotations

import copy
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import verdicts
from hypothesis import given
from hypothesis import strategies as st
from kvproof.report import document, run, views
from kvproof.report.merge import Source, merge
from kvproof.report.views import console
from verdict_schema import errors

ROOT = Path(__file__).resolve().parents[3]
PLAYBOOK = Path(sys.executable).parent / "ansible-playbook"
CLUSTERS = ["osaka", "tokyo"]


def of(cluster: str, name: str = "healthy", **changes) -> dict:
    return verdicts.verdict(name, cluster=cluster, holder="p", receiver="d", **changes)


def ran(*pairs: dict, day: int = 1, hour: int = 0, **more) -> dict:
    """The report of a run of that day."""
    doc = verdicts.document(*pairs, **more)
    times = {
        name: f"2026-11-{day:02d}T{hour:02d}:0{at}:00+00:00" for at, name in enumerate(("started_at", "finished_at"))
    }
    return {**doc, **times}


def merged(*docs, expected=(), **more) -> dict:
    sources = [one if isinstance(one, Source) else Source(f"r{at}.json", one) for at, one in enumerate(docs)]
    doc = merge(sources, list(expected), **more)
    assert errors(doc) == []
    return doc


def test_two_green_runs_make_a_green_one():
    doc = merged(ran(of("tokyo")), ran(of("osaka"), day=2), expected=CLUSTERS)
    assert (doc["verdict"], doc["run_fails"], doc["exit_code"], doc["problems"]) == ("pass", False, 0, [])
    assert [cluster["name"] for cluster in doc["clusters"]] == CLUSTERS
    assert (doc["started_at"], doc["finished_at"]) == ("2026-11-01T00:00:00+00:00", "2026-11-02T00:01:00+00:00")
    assert "merged from 2 reports of runs between 2026-11-01" in doc["notes"][0]


def test_a_failure_anywhere_is_the_merged_runs():
    doc = merged(ran(of("tokyo")), ran(of("osaka", "sync_loading")))
    assert (doc["verdict"], doc["exit_code"]) == ("fail", 2)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize(("later", "code"), [("healthy", 0), ("sync_loading", 2)])
def test_of_a_pair_judged_twice_the_later_verdict_counts_and_the_earlier_is_told(order, later, code):
    earlier = {"healthy": "sync_loading", "sync_loading": "healthy"}[later]
    docs = [ran(of("tokyo", earlier), day=1), ran(of("tokyo", later), day=2)]
    doc = merged(*(docs[at] for at in order))
    assert doc["exit_code"] == code
    words = {"healthy": "PASS", "sync_loading": "FAIL"}
    told = next(note for note in doc["notes"] if "gave way" in note)
    assert told.index(words[earlier]) < told.index("gave way") < told.index(words[later])
    assert "2026-11-01T00:01:00+00:00" in told


def test_a_pair_without_a_verdict_in_the_later_run_is_not_green():
    lost = ran(of("osaka"), day=2, missing=1)
    pair = lost["clusters"][0]["not_judged"][0]
    earlier = ran(verdicts.verdict("healthy", **{key: pair[key] for key in ("cluster", "holder", "receiver")}))
    doc = merged(earlier, lost)
    assert (doc["verdict"], doc["exit_code"]) == ("inconclusive", 2)
    assert merged({**earlier, "started_at": "2026-11-03T00:00:00Z", "finished_at": "2026-11-03T00:01:00Z"},
                  lost)["exit_code"] == 0  # fmt: skip


def test_one_pair_judged_by_two_runs_at_the_same_time_may_be_two_clusters_of_one_name():
    one, other = ran(of("default", "sync_loading")), ran(of("default"))
    other["started_at"], other["finished_at"] = "2026-11-01T00:00:30+00:00", "2026-11-01T00:01:30+00:00"
    doc = merged(one, other)
    assert doc["exit_code"] == 2
    assert "give them different kv_reuse_cluster" in doc["problems"][0]


def test_the_same_report_given_twice_is_no_problem():
    assert merged(ran(of("tokyo")), ran(of("tokyo")))["exit_code"] == 0


def test_a_cluster_that_is_missing_is_not_hidden():
    doc = merged(ran(of("tokyo")), expected=CLUSTERS)
    assert (doc["verdict"], doc["exit_code"]) == ("inconclusive", 2)
    assert doc["problems"] == ["cluster osaka is in none of the reports: add the report of its run, or validate it"]
    assert merged(ran(of("tokyo")), expected=CLUSTERS, inconclusive="warn")["exit_code"] == 2


def test_nothing_to_merge_is_no_pass():
    doc = merged()
    assert (doc["verdict"], doc["exit_code"]) == ("inconclusive", 2)
    assert doc["problems"][0].startswith("there is no report to merge: give reports=")


GREEN = ran(of("tokyo"))
PAIR = GREEN["clusters"][0]["pairs"][0]
FAILED = verdicts.verdict("sync_loading")


def with_pair(**changes) -> dict:
    cluster = {**GREEN["clusters"][0], "pairs": [{**PAIR, **changes}]}
    return {**GREEN, "clusters": [cluster]}


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (verdicts.run(of("osaka")).document("incomplete"), "its run had not ended"),
        ({**GREEN, "schema": "kvproof.verdict/2"}, "it is kvproof.verdict/2, and this kvproof reads kvproof.verdict/1"),
        ({"schema": "other/1"}, "this is no verdict.json of kvproof"),
        ({}, "this is no verdict.json of kvproof"),
        ([1], "this is no verdict.json of kvproof"),
        (None, "this is no verdict.json of kvproof"),
        (Source("x", trouble="it cannot be read (No such file or directory): correct reports="), "it cannot be read"),
        ({**GREEN, "clusters": "none"}, "it is damaged (clusters: a list expected, a string found)"),
        (
            {**GREEN, "clusters": [{"pairs": [None], "not_judged": []}]},
            "it is damaged (clusters[0].name: a value expected",
        ),
        ({**GREEN, "finished_at": "yesterday"}, "(finished_at: a time with its zone expected"),
        ({**GREEN, "finished_at": "2026-11-01T00:01:00"}, "(finished_at: a time with its zone expected"),
        (
            with_pair(verdict="green"),
            "(clusters[0].pairs[0].verdict: one of pass, fail, inconclusive expected, 'green' found)",
        ),
        (with_pair(findings=None), "(clusters[0].pairs[0].findings: a list expected, null found)"),
        (
            with_pair(counts={"fresh_prompts": 10**400}),
            "counts.fresh_prompts: a whole number from 0 expected, a number of",
        ),
        (with_pair(surprise=1), "(clusters[0].pairs[0]: no 'surprise' expected, one found)"),
        (with_pair(links=PAIR["links"][1:]), "(clusters[0].pairs[0].links: 13 items expected, 12 found)"),
        (with_pair(trials=[]), "('p and d': verdict pass, with no trial proven)"),
        (with_pair(findings=FAILED["findings"]), "('p and d': verdict pass, with the finding async-loading-off)"),
        (
            with_pair(verdict="inconclusive", findings=[{**FAILED["findings"][0], "role": "failure"}]),
            "verdict inconclus",
        ),
        (with_pair(verdict="fail", waived=True), "('p and d': waived, with findings that are not)"),
        ({**GREEN, "finished_at": None}, "(verdict and finished_at do not go with status)"),
        ({**GREEN, "clusters": []}, "its run judged no pair"),
        ({**GREEN, "problems": ["no decode node"]}, "no decode node"),
    ],
)
def test_a_report_that_proves_nothing_keeps_the_merged_one_from_being_green(bad, says):
    doc = merged(ran(of("kobe")), bad)
    assert (doc["verdict"], doc["exit_code"]) == ("inconclusive", 2)
    assert len(doc["problems"]) == 1
    assert says in doc["problems"][0]
    assert doc["problems"][0].startswith("x: " if isinstance(bad, Source) else "r1.json: ")


def test_what_one_run_was_not_asked_to_judge_another_may_have_judged():
    skipped = [{"cluster": "osaka", "holder": "p", "receiver": "d", "reason": "--limit"},
               {"cluster": "osaka", "holder": "p", "receiver": "e", "reason": "cover"}]  # fmt: skip
    doc = merged(ran(of("tokyo"), skipped=skipped), ran(of("osaka")))
    assert [one["receiver"] for one in doc["not_probed"]] == ["e"]


def test_waived_pairs_stay_waived():
    doc = merged(ran(verdicts.waived(cluster="tokyo")))
    assert (doc["exit_code"], doc["clusters"][0]["counts"]) == (0, {"waived": 1})


def test_a_merged_report_can_be_merged_again():
    doc = merged(merged(ran(of("tokyo"))), ran(of("osaka")), expected=CLUSTERS)
    assert doc["exit_code"] == 0


# ---- of whatever file


TUNNEL = {"via": ["kv@p:22"], "open_s": 0.2, "rtt_s": 0.01, "rtt_max_s": 0.02, "pings": 9}
WRITTEN = [
    ran(verdicts.live(), verdicts.waived(cluster="b"), missing=1, exit_code=2),
    ran(verdicts.live("sync_loading", tunnels={"holder": TUNNEL, "receiver": TUNNEL})),
    ran(verdicts.verdict("local_hit_decode"), skipped=[{"cluster": "c", "holder": "a", "receiver": "b", "reason": ""}]),
    verdicts.compared(ran(verdicts.live("sync_loading", cluster="a")), ran(verdicts.live(cluster="a"))),
]
ODD = [None, True, -1, 0, 0.5, 1e300, 10**400, 2**62, float("nan"), "", "x", "\x1b[2J\ud800", [], {}, [None], {"a": 1}]


def places(part, path=()):
    """The path of every part of a document, but for most of the chain."""
    if path:
        yield path
    for key, value in part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ():
        if not (path[-1:] == ("links",) and key > 1):
            yield from places(value, (*path, key))


PLACES = [list(places(doc)) for doc in WRITTEN]


@st.composite
def damaged(draw) -> dict:
    """A report of which some parts are gone, odd, or another part of it."""
    number = draw(st.integers(0, len(WRITTEN) - 1))
    doc = copy.deepcopy(WRITTEN[number])
    for path in draw(st.lists(st.sampled_from(PLACES[number]), min_size=1, max_size=3)):
        change = draw(st.sampled_from(["odd", "gone", "another", "more"]))
        holder, key = doc, path[-1]
        try:
            for step in path[:-1]:
                holder = holder[step]
            if change == "gone":
                del holder[key]
            elif change == "more" and isinstance(holder[key], dict):
                holder[key]["\x1b[2Jmore"] = 1
            elif change == "another":
                holder[key] = functools.reduce(
                    lambda part, step: part[step], draw(st.sampled_from(PLACES[number])), doc
                )
            else:
                holder[key] = draw(st.sampled_from(ODD))
        except (LookupError, TypeError):
            continue  # an earlier change took this part away
    return doc


@given(damaged())
def test_of_a_damaged_report_one_sentence_is_made_or_every_view(bad):
    doc = merged(Source("r.json", bad))
    refused = [text for text in doc["problems"] if "it is damaged" in text]
    assert all(text.isprintable() and len(text) < 500 for text in refused)
    for name, text, error in views.files(doc):
        assert not error, name
        text.encode()
    for line in console.lines(doc):
        "".join(text for text, _ in line).encode()


# ---- by Ansible


class Reports:
    def __init__(self, folder: Path):
        self.folder = folder

    def put(self, name: str, doc) -> str:
        path = self.folder / name / "verdict.json"
        path.parent.mkdir(parents=True)
        path.write_text(doc if isinstance(doc, str) else json.dumps(doc))
        return str(path.parent)

    def run(
        self, *options: str, playbook: str = "playbooks/merge_reports.yml", **environment
    ) -> subprocess.CompletedProcess:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("ANSIBLE_")}
        done = subprocess.run(
            [PLAYBOOK, playbook, "-e", f"kv_reuse_reports_dir={self.folder}/out", *options],
            cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
            env={**kept, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_HOME": str(self.folder / ".ansible"),
                 "ANSIBLE_NOCOLOR": "1", "PYTHONIOENCODING": "utf-8", **environment},
        )  # fmt: skip
        assert "Traceback" not in done.stdout + done.stderr
        return done

    @property
    def out(self) -> dict:
        return json.loads((self.folder / "out" / "verdict.json").read_text())


@pytest.fixture
def reports(tmp_path) -> Reports:
    if not PLAYBOOK.exists():
        pytest.skip("ansible is not installed beside this Python")
    return Reports(tmp_path)


@pytest.mark.slow
def test_the_playbook_merges_and_prints_and_writes(reports):
    for name, cluster in (("s1", "tokyo"), ("s2", "osaka")):
        reports.put(name, ran(of(cluster)))
    done = reports.run("-e", f"reports={reports.folder}/s*", "-e", "expect=tokyo,osaka")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASS  2 of 2 pairs passed" in done.stdout
    assert f"reports {reports.folder}/out (verdict.json, junit.xml" in " ".join(done.stdout.split())
    names = ["index.html", "junit.xml", "kv_reuse.prom", "summary.md", "verdict.json"]
    assert sorted(path.name for path in (reports.folder / "out").iterdir()) == names
    assert reports.out["verdict"] == "pass"


@pytest.mark.slow
def test_the_inventorys_clusters_must_be_there(reports):
    found = reports.put("s1", ran(of("tokyo")))
    group = {"hosts": {"p": {"kv_reuse_cluster": "tokyo"}, "q": {"kv_reuse_cluster": "osaka"}}}
    (reports.folder / "hosts.json").write_text(json.dumps({"kv_prefill": group}))
    for limit in ([], ["--limit", "p"]):
        done = reports.run("-i", f"{reports.folder}/hosts.json", "-e", f"reports={found}", *limit)
        assert done.returncode == 2
        assert reports.out["problems"][0].startswith("cluster osaka is in none of the reports")
        assert "cluster osaka is in none of the reports" in done.stdout


@pytest.mark.slow
def test_what_cannot_be_read_leaves_no_green_report(reports):
    out = reports.put("out", ran(of("tokyo")))
    done = reports.run("-e", f"reports={reports.folder}/nowhere,{reports.put('s1', 'not json')}")
    assert done.returncode == 2
    assert [text.partition(": ")[2] for text in reports.out["problems"]] == [
        "it cannot be read (No such file or directory): correct reports=, or leave it out",
        "this is no JSON: correct reports=, or leave it out",
    ]
    done = reports.run("-e", f"reports={out}")
    assert done.returncode == 2
    assert "is both read and written" in done.stdout + done.stderr


@pytest.mark.slow
def test_in_check_mode_it_judges_and_writes_nothing(reports):
    found = reports.put("s1", ran(of("tokyo", "sync_loading")))
    assert reports.run("--check", "-e", f"reports={found}").returncode == 2
    assert not (reports.folder / "out").exists()


@pytest.mark.slow
def test_it_works_in_a_collection(reports):
    collection = reports.folder / "ansible_collections" / "kvproof" / "cluster"
    (collection / "playbooks").mkdir(parents=True)
    (collection / "plugins").symlink_to(ROOT / "plugins")
    (collection / "playbooks" / "merge_reports.yml").symlink_to(ROOT / "playbooks" / "merge_reports.yml")
    found = reports.put("s1", ran(of("tokyo")))
    done = reports.run(
        "-e", f"reports={found}", playbook="kvproof.cluster.merge_reports",
        ANSIBLE_CONFIG=str(reports.folder / "none.cfg"),
        ANSIBLE_COLLECTIONS_PATH=str(reports.folder), ANSIBLE_CALLBACKS_ENABLED="kvproof.cluster.kv_reuse_report",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASS  1 of 1 pairs passed") == 1
    assert reports.out["verdict"] == "pass"


def shard(number: int, *pairs: dict, of: int = 3, all_clusters: int = 2, hour: int = 0) -> dict:
    given = {"number": number, "of": of, "clusters": len(pairs), "all_clusters": all_clusters}
    handed = run.Run("2026-11-01T00:00:00+00:00")
    handed.plan({"pairs": pairs, "shard": given, "mode": "inventory", "run_id": "k1"})
    handed.verdicts(list(pairs))
    return {**handed.document("complete", f"2026-11-01T{hour:02d}:01:00+00:00", 0)}


def test_all_shards_are_the_whole_also_one_that_nothing_falls_into():
    parts = [shard(1, of("tokyo")), shard(2), shard(3, of("osaka"))]
    assert [(doc["verdict"], doc["run_fails"]) for doc in parts] == [
        ("pass", False),
        ("inconclusive", False),
        ("pass", False),
    ]
    assert document.exit_meaning(parts[1]).startswith("no cluster falls into this shard, and nothing was judged")
    doc = merged(*parts)
    assert (doc["verdict"], doc["exit_code"], doc["problems"]) == ("pass", 0, [])


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ([1, 3], "shard 2/3 is in none of the reports"),
        ([1, 2, 3, 2], "shard 2/3 is in several reports (r1.json, r3.json)"),
    ],
)
def test_a_shard_that_is_missing_or_doubled_is_known_from_the_reports(parts, problem):
    docs = {1: shard(1, of("tokyo")), 2: shard(2), 3: shard(3, of("osaka"))}
    doc = merged(*(docs[number] for number in parts))
    assert (doc["verdict"], doc["exit_code"]) == ("inconclusive", 2)
    assert doc["problems"][0].startswith(problem)


def test_shards_of_different_cuts_are_no_whole():
    doc = merged(shard(1, of("tokyo")), shard(2, of("osaka"), of=2))
    assert (doc["exit_code"], len(doc["problems"])) == (2, 1)
    assert "different cuts: 1/3 (r0.json), 2/2 (r1.json)" in doc["problems"][0]


def test_a_shard_whose_run_did_not_end_is_missing():
    doc = merged(shard(1, of("tokyo")), shard(2), run.Run("2026-11-01T00:00:00+00:00").document("incomplete"))
    assert doc["exit_code"] == 2
    assert [problem.split(":")[0] for problem in doc["problems"]] == ["r2.json", "shard 3/3 is in none of the reports"]


def test_an_empty_inventory_is_no_empty_shard():
    assert shard(1, all_clusters=0)["run_fails"]
