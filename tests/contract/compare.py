#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""compare.py REAL [REHEARSAL] [--keep FOLDER]: holds a rehearsal cluster to the real one, and fails on any drift.

The same requests go to both.  Compared are: status codes, content types, JSON shapes and error texts of every
surface; families, types, HELP and labels of /metrics; the kinds, order and origin of the log lines that one story
of seven requests leaves.  REAL and REHEARSAL are cluster files, or captures that --keep has written (.json).
Without REHEARSAL a cluster is started for it.  A cluster file:

    holder:     {url: http://127.0.0.13:8000, log: .cache/lab/logs/prefill-1.log}
    receiver:   {url: http://127.0.0.97:8000, log: .cache/lab/logs/decode-1.log,
                 scheduler: http://127.0.0.1:7099, worker: http://127.0.0.1:7100}
    controller: {url: http://127.0.0.5:9000}

Both have to be healthy, idle, and to serve whole chunks of 256 tokens.  Takes about half a minute.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "module_utils"), str(Path(__file__).parent)]

import loglines
import pages
import surfaces

from lab.cluster.cluster import Cluster
from lab.cluster.slots import Slots
from lab.cluster.supervise import Failure

FLUSH_S = 11.0  # LMCache publishes its counters every 10 s
SIDES = ("holder", "receiver", "controller")


def get(url: str) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        reply = session.get(url, timeout=10)
    reply.raise_for_status()
    return reply


def base(cluster: dict[str, Any], server: str) -> str:
    """URL of a server that surfaces.py names."""
    if server == "controller":
        return cluster["controller"]["url"]
    return cluster["receiver"]["url" if server == "engine" else server]


def capture(cluster: dict[str, Any], flush_s: float = FLUSH_S) -> dict[str, Any]:
    """What a cluster answers, logs and counts, as plain values."""
    holder, receiver = cluster["holder"], cluster["receiver"]
    model = get(receiver["url"] + "/v1/models").json()["data"][0]["id"]
    names = {"model": model, "receiver": urlsplit(receiver["url"]).hostname}
    calls = surfaces.ENGINE + surfaces.INTERNAL + surfaces.CONTROLLER
    answers = {call.name: surfaces.answer(call, base(cluster, call.server), names) for call in calls}
    logs = {side: Path(cluster[side]["log"]) for side in ("holder", "receiver")}
    story = loglines.tell(holder["url"], receiver["url"], names["model"], logs)
    time.sleep(flush_s)
    metrics = {side: get(cluster[side]["url"] + "/metrics").text for side in SIDES}
    return {"answers": answers, "story": dataclasses.asdict(story), "metrics": metrics}


def drifts(real: dict[str, Any], rehearsal: dict[str, Any]) -> list[str]:
    """All differences between two captures, a sentence each."""
    found = surfaces.compare(real["answers"], rehearsal["answers"])
    found += loglines.compare(real["story"], rehearsal["story"])
    for side in SIDES:
        found += [f"{side}: {drift}" for drift in pages.compare(real["metrics"][side], rehearsal["metrics"][side])]
    return found


def described(cluster: Cluster) -> dict[str, Any]:
    """The cluster file of a rehearsal cluster."""
    found: dict[str, Any] = {
        side: {"url": f"http://{cluster.addresses[name]}:8000", "log": str(cluster.log(name))}
        for side, name in (("holder", "prefill"), ("receiver", "decode"))
    }
    first = next(node.internal_api_port for node in cluster.lab.nodes if node.role == "decode")
    found["receiver"] |= {"scheduler": f"http://127.0.0.1:{first}", "worker": f"http://127.0.0.1:{first + 1}"}
    return {**found, "controller": {"url": cluster.controller_url}}


@contextlib.contextmanager
def rehearsal_cluster(fault: dict[str, Any] | None = None):
    """One of its own, healthy unless broken by a fault."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        slot = stack.enter_context(Slots().take())
        yield described(stack.enter_context(Cluster(slot.lab(folder), fault)))


def captured(path: Path | None) -> dict[str, Any]:
    """Of a capture's file, a cluster's file, or a cluster that is started for it."""
    if path is None:
        with rehearsal_cluster() as cluster:
            return capture(cluster)
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if path.suffix == ".json" else capture(yaml.safe_load(text))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("real", type=Path)
    parser.add_argument("rehearsal", type=Path, nargs="?")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="write both captures there")
    options = parser.parse_args()
    try:
        both = {name: captured(getattr(options, name)) for name in ("real", "rehearsal")}
    except (OSError, ValueError, KeyError, Failure, yaml.YAMLError) as error:
        print(f"cannot compare: {type(error).__name__}: {error}", file=sys.stderr)
        return 2
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        for name, one in both.items():
            (options.keep / f"{name}.json").write_text(json.dumps(one, indent=1), encoding="utf-8")
    found = drifts(both["real"], both["rehearsal"])
    for drift in found:
        print("drift:", drift)
    print(f"{len(found)} drifts")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
