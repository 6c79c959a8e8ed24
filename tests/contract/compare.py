#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""compare.py REAL.yml REHEARSAL.yml: holds the rehearsal cluster to the real one, and fails on any drift.

The same requests go to both.  Compared are: status codes, content types, JSON shapes and error texts of every
surface; families, types, HELP and labels of /metrics; the kinds, order and origin of the log lines that one story
of seven requests leaves.  A cluster file:

    holder:     {url: http://127.0.0.13:8000, log: .cache/lab/logs/prefill-1.log}
    receiver:   {url: http://127.0.0.97:8000, log: .cache/lab/logs/decode-1.log,
                 scheduler: http://127.0.0.1:7099, worker: http://127.0.0.1:7100}
    controller: {url: http://127.0.0.5:9000}

Both have to be healthy, idle, and to serve whole chunks of 256 tokens.  Takes about half a minute.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "module_utils"), str(Path(__file__).parent)]

import loglines
import pages
import surfaces

FLUSH_S = 11.0  # LMCache publishes its counters every 10 s


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


def drifts(clusters: list[dict[str, Any]]) -> list[str]:
    """All differences; clusters[0] is the real one."""
    names = [{"model": get(one["receiver"]["url"] + "/v1/models").json()["data"][0]["id"],
              "receiver": urlsplit(one["receiver"]["url"]).hostname} for one in clusters]  # fmt: skip
    calls = surfaces.ENGINE + surfaces.INTERNAL + surfaces.CONTROLLER
    found = surfaces.compare(calls, lambda which, server: base(clusters[which], server), names)
    stories = [loglines.tell(one["holder"]["url"], one["receiver"]["url"], name["model"],
                             {side: Path(one[side]["log"]) for side in ("holder", "receiver")})
               for one, name in zip(clusters, names)]  # fmt: skip
    found += loglines.compare(*stories)
    time.sleep(FLUSH_S)
    for side in ("holder", "receiver"):
        texts = [get(one[side]["url"] + "/metrics").text for one in clusters]
        found += [f"{side}: {drift}" for drift in pages.compare(*texts)]
    return found + [f"controller: {drift}" for drift in pages.compare(
        *(get(one["controller"]["url"] + "/metrics").text for one in clusters))]  # fmt: skip


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    found = drifts([yaml.safe_load(Path(path).read_text(encoding="utf-8")) for path in sys.argv[1:]])
    for drift in found:
        print("drift:", drift)
    print(f"{len(found)} drifts")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
