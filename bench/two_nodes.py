#!/usr/bin/env python3
# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wall time of validate.yml on a running two-node cluster against the seed script's, in pairs on the same machine.

    make up && .cache/venv/bin/python bench/two_nodes.py --pairs 7 --name vllm && make down

Writes bench/results/two_nodes-NAME.json and .md: medians, the ratio of each pair, and where the time goes by task.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import outcome

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent


def timed(command: list[str], env: dict) -> tuple[float, int]:
    """Wall seconds and exit code of one command, its output thrown away."""
    began = time.perf_counter()
    code = subprocess.run(command, env=env, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return time.perf_counter() - began, code.returncode


def one_pair(args, env: dict, times_file: Path) -> dict:
    seed_env = dict(env, PREFILL_URL=args.prefill_url, DECODE_URL=args.decode_url)
    seed, seed_code = timed([str(BIN / "python"), "bench/seed_script.py"], seed_env)
    play = [str(BIN / "ansible-playbook"), "-i", args.inventory, "validate.yml"]
    play_env = dict(env, TASK_TIMES=str(times_file), ANSIBLE_CALLBACK_PLUGINS=str(ROOT / "bench" / "callback_plugins"))
    kvproof, code = timed(play, play_env)
    return {
        "seed_s": round(seed, 3),
        "seed_exit": seed_code,
        "kvproof_s": round(kvproof, 3),
        "kvproof_exit": code,
        "ratio": round(kvproof / seed, 3),
        "tasks": json.loads(times_file.read_text()),
    }


def by_task(pairs: list[dict]) -> list[tuple[str, float]]:
    """Median seconds of each task over the pairs, in the order of the play."""
    names = list(dict.fromkeys(t["task"] for p in pairs for t in p["tasks"]))
    sums = {name: [sum(t["seconds"] for t in p["tasks"] if t["task"] == name) for p in pairs] for name in names}
    return [(name, statistics.median(values)) for name, values in sums.items()]


def summary(pairs: list[dict]) -> dict:
    """Medians over the pairs, and each pair's ratio."""
    return {
        "pairs": len(pairs),
        **{key: round(statistics.median(pair[key] for pair in pairs), 3) for key in ("seed_s", "kvproof_s", "ratio")},
        "ratios": [pair["ratio"] for pair in pairs],
        "kvproof_exits": sorted({pair["kvproof_exit"] for pair in pairs}),
        "task_s": {task: round(seconds, 3) for task, seconds in by_task(pairs) if seconds >= 0.005},
    }


def page(name: str, row: dict) -> str:
    lines = [
        f"# Two nodes, {name}",
        "",
        f"{row['pairs']} pairs, {os.cpu_count()} cores, {platform.processor() or platform.machine()}.",
        "",
        "| | median wall |",
        "|---|---|",
        f"| seed script (two requests and its 5 s sleep) | {row['seed_s']:.2f} s |",
        f"| `validate.yml` (3 trials, controls, SSH evidence of 3 hosts) | {row['kvproof_s']:.2f} s |",
        f"| ratio, median of pairs | {row['ratio']:.2f} |",
        "",
        f"Exit codes of validate.yml: {row['kvproof_exits']}.",
        "",
        "| task | median s |",
        "|---|---|",
    ]
    lines += [f"| {task} | {seconds:.2f} |" for task, seconds in row["task_s"].items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--name", default="vllm", help="which engines run: part of the result's file name")
    parser.add_argument("--inventory", default="inventory/demo")
    parser.add_argument("--prefill-url", default="http://127.0.0.13:8000")
    parser.add_argument("--decode-url", default="http://127.0.0.97:8000")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        times_file = Path(folder) / "tasks.json"
        pairs = [one_pair(args, dict(os.environ), times_file) for _ in range(args.pairs)]
    row = summary(pairs)
    outcome.save(f"two_nodes-{args.name}", [row], page(args.name, row))
    print(page(args.name, row))


if __name__ == "__main__":
    main()
