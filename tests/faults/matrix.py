#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""matrix.py [--jobs N] [--healthy N] [FAULT ... | none]: faults of lab/faults on rehearsal clusters, as a table.

Verdict and first finding must be those of the fault's file, findings listed under ``also`` must be there, and
nothing may be presented as a cause that the file does not name.  Tools of others must read every report of it.
Exit 1 when a row is wrong.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import variants
from rich.console import Console
from rich.markup import escape

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "module_utils"), str(ROOT / "tests" / "support")]

import readers
import verdicts
from gathering import evidence
from kvproof.judge.verdict import judge
from kvproof.report.timeline import timed

from lab.cluster.cluster import Cluster
from lab.cluster.fault import FAULTS, load
from lab.cluster.lab import Lab
from lab.cluster.slots import Slot, Slots

WIDTH = 46  # of the longest name
ASIDE = ("note", "warning")


@dataclass
class Row:
    """One fault's outcome; ``wrong`` is a sentence, None when all is as the file says."""

    name: str
    verdict: str
    findings: list[tuple[str, str]]  # role, slug
    seconds: float
    wrong: str | None


def faults(names: list[str], healthy: int) -> dict[str, dict[str, Any]]:
    """Faults by their names or the paths of their files, and so many healthy clusters."""
    paths = [Path(name) if name.endswith(".yml") else FAULTS / f"{name}.yml" for name in names]
    broken = {path.stem: load(path.stem, path.parent) for path in paths}
    return {**broken, **{f"healthy-{number}": variants.healthy(number) for number in range(healthy)}}


def run(slots: Slots, name: str, fault: dict[str, Any], folder: Path) -> Row:
    """Starts the cluster, breaks it, judges it and takes it down."""
    began = time.monotonic()
    try:
        with slots.take() as slot, Cluster(_lab(slot, folder / name, fault), fault) as cluster:
            document = evidence(cluster)
        (folder / name / "evidence.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
        judged = judge(document)
    except Exception as exc:  # one row must not take the others down
        return Row(name, "-", [], time.monotonic() - began, f"{type(exc).__name__}: {exc}")
    findings = [(one["role"], one["slug"]) for one in judged["findings"]]
    why = wrong(judged, fault["expect"]) or unread(timed(judged, document))
    return Row(name, judged["verdict"], findings, time.monotonic() - began, why)


def unread(pair: dict[str, Any]) -> str | None:
    """What tools of others have to complain of in the reports of this pair."""
    if readers.missing():
        return None
    complaints = readers.complaints(verdicts.document(pair, exit_code=2 * (pair["verdict"] != "pass")))
    return "; ".join(complaints[:3]) or None


def _lab(slot: Slot, folder: Path, fault: dict[str, Any]) -> Lab:
    return slot.lab(folder, fault.get("architecture", Lab.architecture))


def wrong(judged: dict[str, Any], expect: dict[str, Any]) -> str | None:
    """What is wrong with a verdict, in words; a cluster that works may raise nothing above a note."""
    if judged["verdict"] != expect["verdict"]:
        return f"verdict should be {expect['verdict']}"
    roles = {one["slug"]: one["role"] for one in judged["findings"]}
    first = next((slug for slug, role in roles.items() if role not in ASIDE), None)
    if expect["first"] not in (None, first):
        return f"first finding should be {expect['first']}"
    missing = [slug for slug in expect["also"] if slug not in roles]
    if missing:
        return f"missing: {', '.join(missing)}"
    blamed = ("failure", "cause", "warning") if expect["verdict"] == "pass" else ("failure", "cause")
    named = {expect["first"], *expect["also"]}
    surplus = [slug for slug, role in roles.items() if role in blamed and slug not in named]
    return f"not to blame: {', '.join(surplus)}" if surplus else None


def show(row: Row, console: Console) -> None:
    """One line of the table; findings that are no cause stand in brackets."""
    slugs = ", ".join(dict.fromkeys(slug if role not in ASIDE else f"({slug})" for role, slug in row.findings))
    mark, style = ("BAD", "red") if row.wrong else ("ok ", "green")
    line = f" {row.name:{WIDTH}} {row.verdict:12} {row.seconds:5.1f} s  {slugs}"
    wrong = [f"[red]<- {escape(row.wrong)}[/]"] if row.wrong else []
    console.print(f"[{style}]{mark}[/]", escape(line), *wrong, sep="", soft_wrap=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("faults", nargs="*", help="names or paths of files; default: all")
    parser.add_argument("--jobs", type=int, default=8, help="clusters at a time, at most 40")
    parser.add_argument("--healthy", type=int, help="how many healthy clusters; default: 1 where all faults are run")
    parser.add_argument("--keep", type=Path, help="folder for logs; default: a temporary one")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clusters that are up are taken down
    healthy = options.healthy if options.healthy is not None else int(not options.faults)
    all_of_them = sorted(path.stem for path in FAULTS.glob("*.yml"))
    feasible = [name for name in all_of_them if load(name).get("only") != "vllm" and not load(name).get("hosts")]
    names = options.faults or feasible
    todo = faults([name for name in names if name != "none"], healthy)
    console, slots, bad, began = Console(highlight=False), Slots(), 0, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kvm-") as temporary, ThreadPoolExecutor(options.jobs) as pool:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)  # another user has to be able to read the logs
        heading = f"    {'cluster':{WIDTH}} {'verdict':12}    time  findings, the first one first (asides in brackets)"
        console.print(heading, soft_wrap=True)
        for row in pool.map(lambda name: run(slots, name, todo[name], folder), todo):
            show(row, console)
            bad += row.wrong is not None
    console.print(f"{len(todo)} clusters, {bad} wrong, {time.monotonic() - began:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
