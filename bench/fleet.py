#!/usr/bin/env python3
# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""validate.yml over fleets of rehearsal clusters on this machine, over real SSH, against the seed script.

    .cache/venv/bin/python bench/fleet.py --clusters 10 50 100 250 500
    .cache/venv/bin/python bench/fleet.py --clusters 100 --faults 17 --name faults

Both ends of every connection are here: engines, controllers and SSH servers share the cores with Ansible. For each
size: wall time, as a share of what the seed script would take for one cluster after the other (it is timed on the same
fleet just before and after), CPU and peak memory of the controller machine's own processes (ansible-playbook, its
workers and ssh; not sshd, not Python on the nodes), and whether every verdict and every planted fault is right.
Writes bench/results/fleet-NAME.json and .md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import outcome
import processes

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
sys.path.insert(0, str(ROOT))
from lab.cluster import fleet as lab

NODES_A_CLUSTER = 2


def seed_s(cluster: int) -> float:
    """Wall seconds of the seed script on one cluster of the fleet that is up."""
    urls = {f"{role.upper()}_URL": f"http://{lab.address(cluster, role)}:8000" for role in ("prefill", "decode")}
    began = time.perf_counter()
    subprocess.run([str(BIN / "python"), "bench/seed_script.py"], cwd=ROOT, env={**os.environ, **urls}, check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    return time.perf_counter() - began


def validate(fleet: lab.Fleet, forks: int) -> dict[str, Any]:
    """One run over the whole fleet."""
    reports, times = fleet.folder / "reports", fleet.folder / "tasks.json"
    control_paths = Path(tempfile.mkdtemp(prefix="kvp-"))  # sockets have short paths
    env = {**os.environ, "TASK_TIMES": str(times), "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "bench" / "callback_plugins"),
           "ANSIBLE_SSH_CONTROL_PATH_DIR": str(control_paths), "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}  # fmt: skip
    command = [str(BIN / "ansible-playbook"), "-i", str(fleet.inventory), "-f", str(forks), "validate.yml",
               "-e", f"kv_reuse_reports_dir={reports}"]  # fmt: skip
    with open(fleet.folder / "run.log", "wb") as log:
        spent = processes.run(command, control_paths, cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT)
    verdict = json.loads((reports / "verdict.json").read_text(encoding="utf-8"))
    return {"exit_code": spent.exit_code, "wall_s": round(spent.wall_s, 1), "cpu_s": round(spent.cpu_s, 1),
            "peak_mb": round(spent.peak_mb), "wrong": wrong(fleet, verdict),
            "task_wall_cpu_s": by_task(json.loads(times.read_text(encoding="utf-8")))}  # fmt: skip


def by_task(times: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Sums of wall and CPU seconds of the tasks that took half a second or more, in the order of the play."""
    sums: dict[str, list[float]] = {}
    for task in times:
        wall, cpu = sums.get(task["task"], (0.0, 0.0))
        sums[task["task"]] = [wall + task["seconds"], cpu + task["cpu_seconds"]]
    return {task: [round(wall, 1), round(cpu, 1)] for task, (wall, cpu) in sums.items() if wall >= 0.5}


def wrong(fleet: lab.Fleet, verdict: dict[str, Any]) -> list[str]:
    """What the report has otherwise than it is: a verdict, or the first finding of a planted fault."""
    faults = lab.plantable()
    seen = {cluster["name"]: cluster["pairs"] for cluster in verdict["clusters"]}
    found = []
    for cluster in range(fleet.clusters):
        name, slug = lab.name(cluster), fleet.planted.get(cluster)
        expected = faults[slug]["expect"] if slug else {"verdict": "pass", "first": None}
        for pair in seen.get(name) or [{"verdict": "missing", "findings": []}]:
            first = next((finding["slug"] for finding in pair["findings"]), None)
            if pair["verdict"] != expected["verdict"] or expected["first"] not in (None, first):
                found.append(f"{name} ({slug or 'healthy'}): {pair['verdict']} {first}, not {expected}")
    return found


def measure(clusters: int, faults: list[str], args: argparse.Namespace) -> dict[str, Any]:
    with lab.Fleet(args.folder, clusters, lab.spread(faults, clusters), args.kex) as fleet:
        time.sleep(args.settle)
        healthy = next(number for number in range(clusters) if number not in fleet.planted)
        seeds = [seed_s(healthy)]
        run = validate(fleet, args.forks)
        seeds.append(seed_s(healthy))
    seed, nodes = statistics.mean(seeds), NODES_A_CLUSTER * clusters
    return {"clusters": clusters, "seed_s": round(seed, 2), "share": round(run["wall_s"] / (clusters * seed), 3),
            "cpu_s_a_node": round(run["cpu_s"] / nodes, 3), "planted": len(faults), **run}  # fmt: skip


def page(rows: list[dict[str, Any]], args: argparse.Namespace) -> str:
    rows = sorted(rows, key=lambda row: row["clusters"])
    lines = [
        f"# Fleet, {args.name}",
        "",
        f"{os.cpu_count()} cores for both ends of all connections, {args.forks} forks, key exchange "
        f"{args.kex or 'as OpenSSH chooses'}. Share: of the seed script's wall, one cluster after the other.",
        "",
        "| clusters | wall | a cluster | seed script | share | controller CPU, a node | peak memory | faults | wrong |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [row["clusters"], f"{row['wall_s']:.0f} s", f"{row['wall_s'] / row['clusters']:.2f} s",
                 f"{row['seed_s']:.2f} s", f"1/{1 / row['share']:.1f}", f"{row['cpu_s_a_node']:.2f} s",
                 f"{row['peak_mb']} MB", row["planted"], len(row["wrong"])]  # fmt: skip
        lines.append(f"| {' | '.join(str(cell) for cell in cells)} |")
    last = rows[-1]
    lines += [
        "",
        f"Where the time of {last['clusters']} clusters went:",
        "",
        "| task | wall s | CPU s |",
        "|---|---|---|",
    ]
    lines += [f"| {task} | {wall:.1f} | {cpu:.1f} |" for task, (wall, cpu) in last["task_wall_cpu_s"].items()]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clusters", type=int, nargs="+", default=[10, 50, 100])
    parser.add_argument("--faults", type=int, default=0, help="plant so many different faults")
    parser.add_argument("--forks", type=int, default=20)
    parser.add_argument("--kex", default=lab.KEX, help="key exchange of SSH, '' for OpenSSH's own default")
    parser.add_argument("--settle", type=float, default=15.0, help="seconds between the start and the first look")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/kvproof-fleet"))
    parser.add_argument("--name", default="rehearsal", help="part of the result's file name")
    args = parser.parse_args()
    slugs = list(lab.plantable())
    if not 0 <= args.faults < min(len(slugs), *args.clusters):
        parser.error(f"plant fewer faults than there are clusters, {len(slugs)} at most")
    faults = slugs[:: max(1, len(slugs) // max(args.faults, 1))][: args.faults]
    rows = []
    for clusters in args.clusters:
        rows.append(measure(clusters, faults, args))
        outcome.save(f"fleet-{args.name}", rows, page(rows, args))
        print(json.dumps(rows[-1]), flush=True)
    print(page(rows, args))
    return 1 if any(row["wrong"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
