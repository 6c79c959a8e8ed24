#!/usr/bin/env python3
# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judging and report building for many nodes: seconds, peak memory and size of every file.

    .cache/venv/bin/python bench/report_building.py [--pairs 500] [--broken 17] [--name 1000-nodes]

The evidence of a healthy pair is made a fleet's by giving every pair nodes, addresses and a cluster of its own
(`fleet`), or one cluster to all (`one cluster`); some pairs are broken, each in one of eight ways, in the last shape
all of them (`all broken`).  All are judged, collected as the callback collects them, compared with 50 kept runs, of
each of which another tenth failed, and written by the functions that it calls.  Seconds are medians; memory is what
Python allocates on top of the run's document.  Half of the pairs are measured as well, for the growth: 2 is linear.
Writes bench/results/report_building-NAME.json and .md.  Two minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "module_utils"), str(ROOT / "tests" / "support")]

import documents as evidence
import outcome
from kvproof.judge.verdict import judge
from kvproof.report import files, history, history_files
from kvproof.report.run import Run
from kvproof.report.views import VIEWS, cleaned, console, verdict

BAR_S = 2.0
BARS_MB = {"index.html": 3.0, "summary.md": 5.0}
KEPT = 50  # kv_reuse_history_keep
JUDGING = "judge all pairs, as the tasks of a run do one by one"
STARTED, FINISHED = "2026-11-24T02:24:29+00:00", "2026-11-24T02:34:41+00:00"
BREAKS = (
    lambda: evidence.setting(evidence.pair(*("missed",) * 3), "receiver", "enable_p2p", False),
    lambda: evidence.setting(evidence.pair(*("missed",) * 3), "receiver", "chunk_size", 128),
    lambda: evidence.dial(evidence.pair(*("missed",) * 3), "receiver", "peer-init", "refused"),
    lambda: evidence.unreachable_engine(evidence.pair(), "receiver"),
    lambda: evidence.no_log(evidence.pair(*("local",) * 3)),
    lambda: evidence.pair(*("timed-out",) * 3),
    lambda: evidence.not_announced(evidence.pair(*("missed",) * 3)),
    lambda: evidence.pair(*("load-failed",) * 3),
)


def documents(count: int, broken: int, one_cluster: bool) -> list[dict]:
    """Evidence of as many pairs, the broken ones spread among them."""
    healthy, bad = json.dumps(evidence.pair()), [json.dumps(make()) for make in BREAKS]
    step = count / broken if broken else count + 1
    at = {int(number * step): number for number in range(broken)}
    pairs = []
    for number in range(count):
        text = bad[at[number] % len(bad)] if number in at else healthy
        text = text.replace("prefill-1", f"prefill-{number}").replace("decode-1", f"decode-{number}")
        text = text.replace("127.0.0.", f"10.{number // 250}.{number % 250}.")
        pairs.append(json.loads(text.replace('"demo"', '"fleet"' if one_cluster else f'"cluster-{number:03}"')))
    return pairs


def collected(verdicts: list[dict]) -> Run:
    run = Run(STARTED)
    names = [{key: pair[key] for key in ("cluster", "holder", "receiver")} for pair in verdicts]
    run.plan({"mode": "inventory", "run_id": evidence.RUN, "pairs": names, "notes": [], "reports_dir": "reports"})
    run.verdicts(verdicts)
    return run


def fill(folder: Path, doc: dict) -> None:
    """Kept runs of the days before."""
    folder.mkdir()
    for day in range(KEPT):
        at = f"2026-{9 + day // 30:02}-{day % 30 + 1:02}T02:34:41+00:00"
        text = history.text_of({**doc, "finished_at": at, "run_id": f"r{day}"})
        kept = json.loads(text)
        for pair in kept["pairs"][day % 10 :: 10]:
            pair["verdict"] = "fail"
        (folder / history.name_of({**doc, "finished_at": at})).write_text(json.dumps(kept))


def kept_anew(folder: Path, doc: dict) -> None:
    (folder / history.name_of(doc)).unlink(missing_ok=True)
    assert history_files.keep(folder, doc, KEPT + 1) == []


def seconds(work, times: int) -> float:
    times_s = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        times_s.append(time.perf_counter() - began)
    return statistics.median(times_s)


def held(work) -> tuple[float, object]:
    """MB that Python held at most on top, and the result."""
    tracemalloc.start()
    result = work()
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return peak, result


def measure(count: int, broken: int, one_cluster: bool, folder: Path) -> list[dict]:
    given, verdicts, table = documents(count, broken, one_cluster), [], []

    def step(what: str, work):
        took = seconds(work, 3)
        peak, result = held(work)
        size = len(result.encode()) if isinstance(result, str) else None
        table.append({"what": what, "s": round(took, 3), "mb": round(peak, 1), "size_mb": size and size / 2**20})
        return result

    took = seconds(lambda: verdicts.extend(judge(document) for document in given), 1)
    table.append({"what": JUDGING, "s": round(took, 3), "mb": None, "size_mb": None})
    doc = step("collect", lambda: collected(verdicts).document("complete", FINISHED, 2))
    with tempfile.TemporaryDirectory() as above:
        fill(kept := Path(above, "kept"), doc)
        past, notes = step(f"compare with {KEPT} kept runs", lambda: history_files.compared(kept, doc))
        assert len(past["pairs"]) == min(count, history.DRAWN), notes
        step("keep the run", lambda: kept_anew(kept, doc))
    doc["history"] = past
    step("verdict.json", lambda: verdict(doc))
    harmless = cleaned(doc)
    for name, render in VIEWS.items():
        step(name, lambda render=render: render(harmless))
    step("console", lambda: "\n".join("".join(text for text, _ in line) for line in console.lines(doc)))
    step("write all files", lambda: files.write(folder, doc))
    return table


def row(shape: str, whole: dict, half: dict) -> dict:
    growth = whole["s"] / half["s"] if half["s"] >= 0.005 else None
    met = whole["s"] <= BAR_S or whole["what"] == JUDGING
    if whole["what"] in BARS_MB:
        met = met and whole["size_mb"] <= BARS_MB[whole["what"]]
    size = None if whole["size_mb"] is None else round(whole["size_mb"], 2)
    return {"shape": shape, **whole, "size_mb": size, "growth": growth and round(growth, 2), "met": met}


def page(name: str, pairs: int, broken: int, table: list[dict]) -> str:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    lines = [
        f"# Report building, {name}",
        "",
        f"{pairs} pairs of {2 * pairs} nodes, {broken} of them broken, {os.cpu_count()} cores, {platform.machine()};",
        f"peak memory of all of it {peak} MB. Aims: {BAR_S:g} s for a step after judging,",
        " and ".join(f"{size:g} MB for {what}" for what, size in BARS_MB.items()) + ".",
        "",
        "| shape | step | s | growth, twice the pairs | memory on top, MB | size, MB | aim |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in table:
        cells = [row[key] if row[key] is not None else "" for key in ("shape", "what", "s", "growth", "mb", "size_mb")]
        lines.append("| " + " | ".join(str(cell) for cell in [*cells, "met" if row["met"] else "missed"]) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--broken", type=int, default=17)
    parser.add_argument("--name", default="1000-nodes", help="part of the result's file name")
    args = parser.parse_args()
    shapes = {"fleet": (args.broken, False), "one cluster": (args.broken, True), "all broken": (args.pairs, False)}
    table = []
    with tempfile.TemporaryDirectory() as folder:
        for shape, (broken, one_cluster) in shapes.items():
            half, whole = (
                measure(count, broken * count // args.pairs, one_cluster, Path(folder))
                for count in (args.pairs // 2, args.pairs)
            )
            table += [row(shape, *both) for both in zip(whole, half)]
    outcome.save(f"report_building-{args.name}", table, text := page(args.name, args.pairs, args.broken, table))
    print(text)


if __name__ == "__main__":
    main()
