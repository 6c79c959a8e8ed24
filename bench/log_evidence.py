#!/usr/bin/env python3
# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The log evidence of one request from a large log, against `grep` for its id on the same file, in pairs.

    .cache/venv/bin/python bench/log_evidence.py [--gb 10] [--pairs 5] [--folder /var/tmp] [--name 10gb]

Writes a log of that size with lines as vLLM with LMCache writes them, in which three requests stand: near the end, in
the middle, and near the start.  For each of them, times

- program: what the role pipes into a node's Python (plugin_utils/node_program.py), run by the system's Python as
  a process of its own: start of Python, unpacking and imports included.
- reading: the reading alone, in a process that has its imports, as `lmcache_node_info` does it among other things.
- grep: `LC_ALL=C grep -F ID FILE`, which prints lines and judges nothing.

`warm` has the file in the page cache as far as it fits, `cold` drops it from there before each of the two (a host
beneath a virtual machine may still have it).  What was found is compared with what was written.
Writes bench/results/log_evidence-NAME.json and .md; removes the log.  10 GB take about 6 minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "module_utils"), str(ROOT)]

import outcome

from plugin_utils import node_program as nodeprogram

FIXTURE = ROOT / "tests" / "fixtures" / "logs" / "healthy_decode.log"
PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable
BLOCK, DAY = 1 << 20, 86400.0
PLACES = {"end": 1.0, "middle": 0.5, "start": 0.0}
BAR_S, BAR_MB, BAR_RATIO = 1.0, 64, 50
STAMP, DATE, TAG = b"2026-11-24 02:24:29", b"11-24 02:24:21", b"85b804a7"
READ_ALONE = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from kvproof.node import log as logs
asked = json.loads(sys.argv[2])
began = time.perf_counter()
log = logs.read(asked["log"], logs.Want(asked["ids"], asked["run_marker"], asked["since"]))
print(json.dumps({"seconds": time.perf_counter() - began, "log": log}))
"""


def request_lines(request: str) -> bytes:
    """What LMCache writes at a receiver for one reused prompt."""
    lines = FIXTURE.read_bytes().splitlines(keepends=True)
    first = next(n for n, line in enumerate(lines) if STAMP + b",175" in line)
    wanted = b"".join(line for line in lines[first : first + 6] if b"Established" not in line)
    return wanted.replace(b"cmpl-85b804a77a10283e-0-867d69c5", f"cmpl-{request}-0-0123abcd".encode())


def traffic() -> bytes:
    """A block of other users' lines, all of one second."""
    some = b'INFO:     10.0.0.7:42140 - "POST /v1/completions HTTP/1.1" 200 OK\n'
    some += b"(APIServer pid=7600) INFO " + DATE + b" [loggers.py:259] Engine 000: Avg prompt throughput: 4212.7 "
    some += b"tokens/s, Avg generation throughput: 612.3 tokens/s, Running: 12 reqs, Waiting: 0 reqs\n"
    one = b"".join(request_lines(f"{TAG.decode()}{n:07x}") + some for n in range(32))
    return (one * (BLOCK // len(one) + 1))[: BLOCK - 1] + b"\n"


def write_log(path: Path, size: int) -> dict[str, dict]:
    """The log, a day long up to now; for each place the request's id and when it was sent."""
    head, template = FIXTURE.read_bytes(), traffic()
    head = head[: head.index(b"[32;20m[" + STAMP) - 1]
    blocks, now = max(3, size // BLOCK), time.time()
    began, step = now - DAY, DAY / blocks
    at = {min(blocks - 1, int(share * blocks)): place for place, share in PLACES.items()}
    planted = {}
    with open(path, "wb") as log:
        log.write(head.replace(b"2026-11-24 02:24:", time.strftime("%Y-%m-%d %H:%M:", time.localtime(began)).encode()))
        for number in range(blocks):
            moment = began + (number + 1) * step
            stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment)).encode()
            block = template.replace(STAMP, stamp).replace(DATE, stamp[5:]).replace(TAG, b"%08x" % number)
            log.write(block)
            if number in at:
                request = f"kvp-{at[number]}-0-reuse"
                planted[at[number]] = {"id": request, "since": moment - 1}
                log.write(request_lines(request).replace(STAMP, stamp))
        log.write(block[: block.index(b"\n", BLOCK // 4) + 1])  # the evidence is read some seconds after
    return planted


def arguments(path: Path, planted: dict) -> dict:
    marker = planted["id"].rpartition("-0-")[0]
    return {"log": {"file": str(path)}, "ids": [planted["id"]], "run_marker": marker, "since": planted["since"]}


def timed(command: list[str], piped: bytes = b"") -> tuple[float, int, str]:
    """Wall seconds, peak memory in MB (this script's own is the least it shows) and output of a process."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as given:
        given.write(piped)
        given.seek(0)
        began = time.perf_counter()
        process = subprocess.Popen(command, stdin=given, stdout=out, env=dict(os.environ, LC_ALL="C"))
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        return wall, used.ru_maxrss >> 10, out.read().decode()


def drop(path: Path) -> None:
    """Take the file out of the page cache."""
    with open(path, "rb") as log:
        os.fsync(log.fileno())
        os.posix_fadvise(log.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def right(log: dict, request: str) -> bool:
    """Whether the evidence is what was written: the three lines of this id, and the controller's answer before them."""
    own = [event for event in log["events"] if request in event.get("id", "")]
    lengths = [(event["kind"], event.get("length", event.get("need", event.get("tokens")))) for event in own]
    before = log["events"][log["events"].index(own[0]) - 1] if own else {}
    complete = log["ids_found"] == [request] and log["ids_missing"] == [] and before.get("kind") == "layout"
    started = any(event["kind"] == "none_hash" for event in log["head"])
    return complete and started and lengths == [("responded", 512), ("looked_up", 512), ("retrieved", 512)]


def one_pair(path: Path, question: dict, program: bytes, cold: bool) -> dict:
    request = question["ids"][0]
    commands = {
        "program": [PYTHON, "-"],
        "reading": [PYTHON, "-c", READ_ALONE, str(ROOT / "module_utils"), json.dumps(question)],
        "grep": ["grep", "-F", request, str(path)],
    }
    results = {}
    for name, command in commands.items():
        if cold:
            drop(path)
        results[name] = timed(command, program if name == "program" else b"")
    alone, log = json.loads(results["reading"][2]), json.loads(results["program"][2])["said"]["log"]
    return {
        "program_s": round(results["program"][0], 4),
        "program_mb": results["program"][1],
        "reading_s": round(alone["seconds"], 4),
        "grep_s": round(results["grep"][0], 4),
        "grep_lines": results["grep"][2].count("\n"),
        "bytes_read": log["bytes_read"],
        "right": right(log, request) and right(alone["log"], request),
    }


def row(place: str, cache: str, pairs: list[dict]) -> dict:
    middle = {key: statistics.median(pair[key] for pair in pairs) for key in ("program_s", "reading_s", "grep_s")}
    times = {
        key: statistics.median(pair["grep_s"] / pair[f"{key}_s"] for pair in pairs) for key in ("program", "reading")
    }
    return {
        "place": place,
        "cache": cache,
        "pairs": len(pairs),
        **{key: round(value, 3) for key, value in middle.items()},
        "program_faster": round(times["program"], 1),
        "reading_faster": round(times["reading"], 1),
        "mb": max(pair["program_mb"] for pair in pairs),
        "read_mb": round(max(pair["bytes_read"] for pair in pairs) / BLOCK, 1),
        "right": all(pair["right"] and pair["grep_lines"] == 3 for pair in pairs),
    }


def page(name: str, gb: float, table: list[dict]) -> str:
    lines = [
        f"# Log evidence of one request, {name}",
        "",
        f"A log of {gb:g} GB, {os.cpu_count()} cores, {platform.machine()}. Bars where the lines stand near the end:",
        f"at most {BAR_S:g} s, at most {BAR_MB} MB, at least {BAR_RATIO} times as fast as `grep`. Elsewhere: right and",
        "bounded in bytes and time. `program` is the whole process that the role starts on a node, `reading` its part",
        "that reads the log.",
        "",
        "| lines stand | page cache | pairs | grep, s | program, s | times as fast | reading, s | times as fast "
        "| program's peak, MB | read, MB | evidence |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in table:
        lines.append(
            f"| {row['place']} | {row['cache']} | {row['pairs']} | {row['grep_s']} | {row['program_s']} | "
            f"{row['program_faster']} | {row['reading_s']} | {row['reading_faster']} | {row['mb']} | "
            f"{row['read_mb']} | "
            f"{'right' if row['right'] else 'WRONG'} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, default=10)
    parser.add_argument("--pairs", type=int, default=5, help="for each place and state of the page cache")
    parser.add_argument(
        "--folder", default=tempfile.gettempdir(), help="where the log is written, and removed at the end"
    )
    parser.add_argument("--name", default="10gb", help="part of the result's file name")
    args = parser.parse_args()
    size = int(args.gb * (1 << 30))
    if shutil.disk_usage(args.folder).free < size * 1.2:
        sys.exit(f"{args.folder} has no room for a log of {args.gb:g} GB: give another --folder or a smaller --gb")
    table = []
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        path = Path(folder) / "vllm.log"
        planted = write_log(path, size)
        for place in PLACES:
            question = arguments(path, planted[place])
            program = nodeprogram.build({"lmcache_log_info": question})
            for cache in ("warm", "cold"):
                if cache == "warm":
                    subprocess.run(["grep", "-c", "no such line", str(path)], stdout=subprocess.DEVNULL, check=False)
                pairs = [one_pair(path, question, program, cache == "cold") for _ in range(args.pairs)]
                table.append(row(place, cache, pairs))
    outcome.save(f"log_evidence-{args.name}", table, text := page(args.name, args.gb, table))
    print(text)


if __name__ == "__main__":
    main()
