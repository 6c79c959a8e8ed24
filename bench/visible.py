#!/usr/bin/env python3
# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long after the truth the probe takes a store for visible, on a rehearsal cluster of its own.

    .cache/venv/bin/python bench/visible.py [--seeds 30] [--name idle]

The truth is when the controller's key_count of the holder has risen by the seed's chunks, as a process of its own sees
it that asks every millisecond; not before the seed's end, from which the probe waits.  The probe asks less often, since
a controller in production is asked: the bar is a median of at most 50 ms beyond the truth.
Writes bench/results/visible-NAME.json and .md.  Wants an idle machine; it is no test.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "module_utils"), str(ROOT)]

import outcome
from kvproof.probe import prompts
from kvproof.probe.completions import CompletionClient
from kvproof.probe.controller import controller_client, instance_of, read_workers
from kvproof.probe.engine import Engine, EngineSettings
from kvproof.probe.store_watch import StoreWatch
from kvproof.transport.http import Deadline

from lab.cluster.cluster import Cluster
from lab.cluster.slots import Slots

CHUNK, CHUNKS, BAR_S, LIMIT_S = 256, 4, 0.05, 5.0


def follow(address: str, instance: str, wanted: int, seen) -> None:
    """Sets `seen` to time.monotonic() of the first answer in which the instance has so many keys."""
    connection = http.client.HTTPConnection(address, 9000)
    while True:
        connection.request("GET", "/controller/workers")
        workers = json.loads(connection.getresponse().read())["workers"]
        if any(worker["instance_id"] == instance and worker["key_count"] >= wanted for worker in workers):
            seen.value = time.monotonic()
            return
        time.sleep(0.001)


def measure(seeds: int, folder: Path) -> list[dict]:
    with Slots().take() as slot, Cluster(slot.lab(folder)) as cluster:
        return list(_seeds(cluster, seeds))


def _seeds(cluster: Cluster, seeds: int):
    deadline, at = Deadline(600), cluster.addresses
    controller = controller_client(f"http://{at['controller']}:9000", deadline)
    engines = [
        Engine(EngineSettings(role, role, f"http://{at[name]}:8000", model="tiny"), deadline, lambda *_told: None)
        for role, name in (("holder", "prefill"), ("receiver", "decode"))
    ]
    for engine in engines:
        engine.contact()
    watch = StoreWatch(*engines, CHUNK, controller=controller, workers=read_workers(controller))
    client = CompletionClient(engines[0].http, "holder", "tiny")
    material = prompts.tokenize_with_server(engines[0].http, "tiny")
    for number in range(seeds):
        workers = read_workers(controller)
        mine = instance_of(engines[0], workers)
        before = next(worker["key_count"] for worker in workers if worker["instance_id"] == mine)
        seen = multiprocessing.Value("d", 0.0)
        follower = multiprocessing.Process(
            target=follow, args=(at["controller"], mine, before + CHUNKS, seen), daemon=True
        )
        mark, pair = watch.before(), prompts.build(material, CHUNKS * CHUNK + prompts.SLACK_TOKENS)
        follower.start()
        request = client.ask("seed", pair.seed, f"visible-{number}", 1)
        ended = time.monotonic()
        visible = watch.wait(mark, f"visible-{number}", CHUNKS, limit=LIMIT_S, since=ended)
        follower.join(LIMIT_S)
        follower.terminate()
        if request["error"] or not visible["reached"] or not seen.value:
            sys.exit(f"seed {number} went wrong: {request['error'] or visible}")
        truth = max(0.0, seen.value - ended)
        yield {"truth_s": truth, "told_s": visible["waited_s"], "beyond_s": visible["waited_s"] - truth}


def summary(seeds: list[dict]) -> dict:
    """Medians over the seeds, and the largest difference, in milliseconds."""
    medians = {key: statistics.median(seed[f"{key}_s"] for seed in seeds) for key in ("truth", "told", "beyond")}
    largest = max(seed["beyond_s"] for seed in seeds)
    milliseconds = {**medians, "beyond_most": largest}
    return {"seeds": len(seeds), **{f"{key}_ms": round(value * 1000, 3) for key, value in milliseconds.items()}}


def page(name: str, row: dict) -> str:
    met = "met" if row["beyond_ms"] <= BAR_S * 1000 else "missed"
    lines = [
        f"# Store to visible, {name}",
        "",
        f"{os.cpu_count()} cores, {platform.machine()}. Milliseconds from the seed's end. The bar is a median of at",
        f"most {BAR_S * 1000:g} ms beyond the truth.",
        "",
        "| seeds | truth, median | told, median | beyond, median | beyond, most | bar |",
        "|---|---|---|---|---|---|",
        f"| {row['seeds']} | {row['truth_ms']:.1f} | {row['told_ms']:.1f} | {row['beyond_ms']:.1f} "
        f"| {row['beyond_most_ms']:.1f} | {met} |",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--name", default="idle", help="part of the result's file name")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        row = summary(measure(args.seeds, Path(folder) / "cluster"))
    outcome.save(f"visible-{args.name}", [row], page(args.name, row))
    print(page(args.name, row))


if __name__ == "__main__":
    main()
