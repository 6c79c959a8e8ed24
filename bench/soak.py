#!/usr/bin/env python3
# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Very many probes of one pair, one after the other: what they leave in engines, controller and validator.

    .cache/venv/bin/python bench/soak.py [--probes 1000] [--engine rehearsal|vllm] [--name NAME]

Brings a cluster of its own up, and judges the pair so many times in one process, with the functions that the modules
and the action plugins call: the experiment, reading both nodes and the controller, the verdict.  Says, in ten steps,
how much memory each process has and how many chunks the controller counts; and how many verdicts were not PASS.

Writes bench/results/soak-NAME.json and .md.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / part) for part in ("module_utils", "tests/faults", "tests/support", "")]

import gathering
import outcome
from kvproof.judge.verdict import judge

from lab.cluster import supervise
from lab.cluster.cluster import Cluster
from lab.cluster.slots import Slots

STEPS = 10
MEMBERS = ("prefill-1", "decode-1", "controller-1")


def memory_mb(pid: int) -> float:
    """Resident memory; 0 where the process is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS")), 0.0)


def state(cluster: Cluster) -> dict[str, Any]:
    """Memory of each member with its children and of this process, in MB; the controller's chunks of each node."""
    found: dict[str, Any] = {"validator": round(memory_mb(os.getpid()), 1)}
    for name in MEMBERS:
        record = supervise.read_record(cluster.lab.dir / "run" / f"{name}.pid") or {}
        found[name] = round(sum(memory_mb(process["pid"]) for process in supervise.members(record)), 1)
    for name in MEMBERS[:2]:
        url = f"{cluster.controller_url}/controller/workers?instance_id={name}"
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as reply:
            found[f"chunks of {name}"] = sum(worker["key_count"] for worker in json.load(reply)["workers"])
    return found


def soak(cluster: Cluster, probes: int) -> tuple[list[dict[str, Any]], collections.Counter]:
    """A row for each step, and how often each verdict was given."""
    rows, verdicts = [{"probes": 0, **state(cluster)}], collections.Counter()
    for number in range(1, probes + 1):
        verdict = judge(gathering.evidence(cluster))
        verdicts[verdict["verdict"]] += 1
        if verdict["verdict"] != "pass":
            print(number, verdict["verdict"], [found["slug"] for found in verdict["findings"]], flush=True)
        if number % max(1, probes // STEPS) == 0:
            rows.append({"probes": number, **state(cluster)})
            print(rows[-1], flush=True)
    return rows, verdicts


def page(engine: str, rows: list[dict[str, Any]], verdicts: collections.Counter, seconds: float) -> str:
    head = list(rows[0])
    told = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
    lines = [f"# {sum(verdicts.values())} probes of one pair, {engine} engines", "", f"{told}, in {seconds:.0f} s."]
    lines += ["Memory in MB, children of a process with it.", ""]
    lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(str(row[key]) for key in head) + " |" for row in rows)]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--probes", type=int, default=1000)
    parser.add_argument("--engine", choices=["rehearsal", "vllm"], default="rehearsal")
    parser.add_argument("--name", help="of the results; default: the engine's")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kvs-") as folder, Slots().take() as slot:
        lab = slot.lab(Path(folder) / "cluster")
        if asked.engine == "vllm":
            python = str(ROOT / ".cache" / "vllm-venv" / "bin" / "python")
            lab = replace(lab, engine="vllm", python=python, start_timeout=240.0)
            subprocess.run([*lab.stack.make_model, str(lab.model)], check=True, cwd=ROOT)
        with Cluster(lab) as cluster:
            began = time.monotonic()
            rows, verdicts = soak(cluster, asked.probes)
            seconds = time.monotonic() - began
    text = page(asked.engine, rows, verdicts, seconds)
    outcome.save(f"soak-{asked.name or asked.engine}", rows, text)
    print(text)
    return 0 if set(verdicts) == {"pass"} else 1


if __name__ == "__main__":
    sys.exit(main())
