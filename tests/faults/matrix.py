#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""matrix.py [--jobs N] [--healthy N] [FAULT ...]: every fault of lab/faults on a rehearsal cluster, as a table.

Verdict and first finding must be those of the fault's file, findings listed under ``also`` must be there, and
nothing may be presented as a cause that the file does not name.  Exit 1 when a row is wrong.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from cluster import ROOT, Cluster, ClusterError
from kvproof.judge import judge

FAULTS = ROOT / "lab" / "faults"
SAY_NOTHING = ("note", "warning")


@dataclass
class Row:
    """One fault's outcome; ``wrong`` is a sentence, None when all is as the file says."""

    name: str
    verdict: str
    first: str | None
    others: list[str]
    seconds: float
    wrong: str | None


def plan_of(name: str) -> dict[str, Any]:
    if name == "healthy":
        return {"expect": {"verdict": "pass", "first": None, "also": []}}
    return yaml.safe_load((FAULTS / f"{name}.yml").read_text(encoding="utf-8"))


def run(index: int, name: str, folder: Path) -> Row:
    """Starts the cluster, breaks it, judges it and takes it down."""
    plan, began = plan_of(name), time.monotonic()
    cluster = Cluster(index, plan, folder / f"{index}-{name}")
    try:
        cluster.start()
        cluster.after_start()
        judged = judge(cluster.evidence(**plan.get("settings", {})))
    except ClusterError as exc:
        return Row(name, "-", None, [], time.monotonic() - began, str(exc))
    finally:
        cluster.stop()
    blamed = [one["slug"] for one in judged["findings"] if one["role"] not in SAY_NOTHING]
    noted = [one["slug"] for one in judged["findings"] if one["role"] in SAY_NOTHING]
    row = Row(name, judged["verdict"], next(iter(blamed), None), blamed[1:] + noted, time.monotonic() - began, None)
    row.wrong = wrong(row, plan["expect"], blamed, noted)
    return row


def wrong(row: Row, expect: dict[str, Any], blamed: list[str], noted: list[str]) -> str | None:
    if row.verdict != expect["verdict"]:
        return f"verdict should be {expect['verdict']}"
    if row.first != expect["first"] and expect["first"] is not None:
        return f"first finding should be {expect['first']}"
    missing = [slug for slug in expect.get("also") or [] if slug not in blamed + noted]
    return f"missing: {', '.join(missing)}" if missing else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("faults", nargs="*")
    parser.add_argument("--jobs", type=int, default=6)
    parser.add_argument("--healthy", type=int, default=1, help="how many healthy clusters")
    parser.add_argument("--keep", type=Path, help="folder for logs; default: a temporary one")
    options = parser.parse_args()
    names = options.faults or ["healthy"] * options.healthy + sorted(path.stem for path in FAULTS.glob("*.yml"))
    with tempfile.TemporaryDirectory(prefix="kvm-") as temporary, ThreadPoolExecutor(options.jobs) as pool:
        folder = options.keep or Path(temporary)
        rows = list(pool.map(lambda item: run(item[0], item[1], folder), enumerate(names)))
    for row in rows:
        why = f"  <- {row.wrong}" if row.wrong else ""
        print(f"{'BAD' if row.wrong else 'ok '} {row.name:28} {row.verdict:12} {row.first or '-':28} "
              f"{row.seconds:5.1f} s  {', '.join(row.others)}{why}")  # fmt: skip
    bad = sum(row.wrong is not None for row in rows)
    print(f"{len(rows)} clusters, {bad} wrong")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
