#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""mp.py CLUSTER|CAPTURE.json [--keep FILE]: holds a rehearsal cluster in MP mode to a real one, and fails on any drift.

Compared are JSON shapes of servers and coordinator, of an answer's kv_transfer_params; families, types and labels of
their /metrics; and where the lines of their logs come from.  CLUSTER is the lab's folder of a real cluster that is up.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "module_utils"), str(Path(__file__).parent)]

import pages
import surfaces

from lab.cluster.cluster import Cluster
from lab.cluster.slots import Slots

STATS = {"kv_transfer_params": {"cached_token_stats": True}}
SERVER = ("/healthcheck", "/status", "/config", "/config/adapters", "/version")
COORDINATOR = ("/healthz", "/instances", "/instances/usage", "/directory/stats")
#: lines of LMCache's servers and of the connector; what an engine logs besides is compared by compare.py
ORIGIN = re.compile(r"LMCache (\w+):.*\((\w+\.py:\d+):lmcache[\w.]*(?:multiprocess|mp_coordinator|distributed|mp_conn)")
OWN = ("lmcache_", "target_info")


def capture(addresses: dict[str, str], coordinator: str, model: str, logs: list[Path]) -> dict[str, Any]:
    """What a cluster answers, counts and logs in a story of five requests, as plain values.

    addresses: of prefill and decode; model: the path by which keys name it.
    """
    tokens = [random.randrange(300, 2000) for _ in range(738)]
    found: dict[str, Any] = {"answers": {}, "metrics": {}}
    story = [("prefill", {"prompt": tokens[:1]}), ("prefill", {"cache_salt": "a"}), ("prefill", {})]
    story += [("decode", {"cache_salt": "b"}), ("decode", {})]
    for role, more in story:
        body = {"model": "tiny", "prompt": tokens, "max_tokens": 2, "temperature": 0, **STATS, **more}
        answer = requests.post(f"http://{addresses[role]}:8000/v1/completions", json=body, timeout=60).json()
        found["answers"]["kv_transfer_params"] = surfaces.shape(answer["kv_transfer_params"])
        time.sleep(1.5)
    for path in SERVER:
        found["answers"][path] = surfaces.shape(
            requests.get(f"http://{addresses['decode']}:8080{path}", timeout=9).json()
        )
    for path in COORDINATOR:
        found["answers"][path] = surfaces.shape(requests.get(coordinator + path, timeout=9).json())
    asked = {"model_name": model, "world_size": 1, "token_ids": tokens, "cache_salt": ""}
    directory = requests.post(f"{coordinator}/directory/lookup", json=asked, timeout=9).json()
    found["answers"]["/directory/lookup"] = surfaces.shape(directory)
    urls = {"coordinator": coordinator, **{role: f"http://{addresses[role]}:8080" for role in ("prefill", "decode")}}
    found["metrics"] = {side: families(requests.get(f"{url}/metrics", timeout=9).text) for side, url in urls.items()}
    found["origins"] = origins("".join(log.read_text(errors="replace") for log in logs))
    return found


def families(text: str) -> list[list[Any]]:
    """[family, type, its samples' label names] of a page's own families."""
    return sorted(
        [name, entry["type"], sorted({label for sample in entry["labels"] for label, _value in sample[1]})]
        for name, entry in pages.contents(text).items()
        if name.startswith(OWN) and not name.endswith("_created") and not SAMPLED.match(name)
    )


#: Histograms of the lives of blocks and chunks, of which a server follows one in a hundred (metrics_sample_rate): they
#: are on its page by chance.
SAMPLED = re.compile(r"lmcache_mp_(?:l0_block|l1_chunk|real_reuse)_(?:lifetime|idle_|reuse_gap|evict_|gap)")
#: Said where the coordinator was up a moment later than a server, as on a busy machine.
CHANCE = ("WARNING registrar.py:154", "WARNING p2p_controller.py:436")


def origins(text: str) -> list[str]:
    """Level and place of every kind of line."""
    return sorted({f"{level} {place}" for level, place in ORIGIN.findall(text)})


def drifts(real: dict[str, Any], rehearsal: dict[str, Any]) -> list[str]:
    """All differences between two captures, a sentence each; lines that a rehearsal does not have are left alone."""
    found = []
    for name, shape in real["answers"].items():
        if rehearsal["answers"].get(name) != shape:
            found.append(f"{name} has the shape {rehearsal['answers'].get(name)}, really {shape}")
    for side, pages_own in real["metrics"].items():
        mine = rehearsal["metrics"][side]
        found += [f"{side}: metrics: {family} is missing" for family in pages_own if family not in mine]
        found += [f"{side}: metrics: {family} does not really exist" for family in mine if family not in pages_own]
    told = {*real["origins"], *CHANCE}
    found += [f"log: {place} is not really there" for place in rehearsal["origins"] if place not in told]
    return found


def of_cluster(cluster: Cluster) -> dict[str, Any]:
    lab = cluster.lab
    logs = sorted((lab.dir / "logs").glob("*.log"))
    return capture(lab.addresses, cluster.controller_url, str(lab.model), logs)


def rehearsed() -> dict[str, Any]:
    """Of a cluster that is started for it."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        slot = stack.enter_context(Slots().take())
        return of_cluster(stack.enter_context(Cluster(slot.lab(folder / "lab", "mp"))))


def of_lab(folder: Path) -> dict[str, Any]:
    """Of a real cluster that is up, by what its lab wrote down of its processes."""
    specs = {spec["name"]: spec for spec in json.loads((folder / "run" / "processes.json").read_text())}

    def option(name: str, option: str) -> str:
        argv = specs[name]["argv"]
        return argv[argv.index(option) + 1]

    addresses = {role: option(f"{role}-1", "--host") for role in ("prefill", "decode")}
    coordinator = option("prefill-1-server", "--coordinator-url")
    return capture(addresses, coordinator, option("decode-1", "--model"), sorted((folder / "logs").glob("*.log")))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("real", type=Path)
    parser.add_argument("--keep", type=Path, metavar="FILE", help="write the real capture there")
    options = parser.parse_args()
    try:
        real = json.loads(options.real.read_text()) if options.real.is_file() else of_lab(options.real)
        if options.keep:
            options.keep.write_text(json.dumps(real, indent=1) + "\n", encoding="utf-8")
        found = drifts(real, rehearsed())
    except (OSError, ValueError, KeyError, requests.RequestException) as error:
        print(f"cannot compare: {type(error).__name__}: {error}", file=sys.stderr)
        return 2
    for drift in found:
        print("drift:", drift)
    print(f"{len(found)} drifts")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
