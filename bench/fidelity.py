#!/usr/bin/env python3
# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far the probe's TTFT and ITL are from the truth, on a rehearsal cluster of its own.

    .cache/venv/bin/python bench/fidelity.py [--requests 40] [--name idle]

For each setting of the engine's speed it sends cold prompts and prompts that are reused, one at a time, and compares
what the client measured with three truths:

- socket: the engine's own histograms over this very request, plus what a bare socket needs beyond them in the same
  turns (the engine's HTTP server reads and parses a request before its clock starts).  The bar is on this one.
- engine: its histograms alone.
- injected: the parameters; for cold prompts lookup poll and prefill.  They are least times, since a sleep ends late.

Writes bench/results/fidelity-NAME.json and .md.  Wants an idle machine; it is no test.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "module_utils"), str(ROOT)]

import itertools

import outcome
from kvproof.probe import prompts
from kvproof.probe.completions import CompletionClient
from kvproof.probe.inprocess_p2p import knockout_fields
from kvproof.transport.http import Deadline, HttpClient
from prometheus_client.parser import text_string_to_metric_families

from lab.cluster.cluster import Cluster
from lab.cluster.slots import Slots

CHUNK, TOKEN_BYTES = 256, 2 * 4 * 4 * 64 * 4
POLL_S, LOAD_BASE_S, LOAD_GB_S = 0.01, 0.0005, 8.0  # lookup_poll_s, and what a store costs (lab/rehearsal/pace.py)
SETTINGS = {
    "as shipped": {"prefill_base_s": 0.004, "prefill_token_s": 0.00006, "decode_token_s": 0.002},
    "a large model": {"prefill_base_s": 0.02, "prefill_token_s": 0.0003, "decode_token_s": 0.02, "transfer_gb_s": 0.1},
    "fast": {"prefill_base_s": 0.001, "prefill_token_s": 0.00001, "decode_token_s": 0.001},
}
HISTOGRAMS = ("vllm:time_to_first_token_seconds", "vllm:inter_token_latency_seconds")
PREFIX, NEW_TOKENS = 4 * CHUNK + prompts.SLACK_TOKENS, 32


def histograms(http: HttpClient) -> dict[str, float]:
    """Sum and count of the engine's own histograms."""
    page = http.get("/metrics").body.decode()
    lines = [line for line in page.splitlines() if line.startswith(HISTOGRAMS) and "_bucket" not in line]
    samples = [s for family in text_string_to_metric_families("\n".join(lines) + "\n") for s in family.samples]
    return {sample.name: sample.value for sample in samples}


class Bench:
    """One cluster; sends requests and compares."""

    def __init__(self, cluster: Cluster, parameters: dict[str, float]):
        deadline = Deadline(600)
        self.parameters = parameters
        self.clients = {
            role: CompletionClient(HttpClient(f"http://{cluster.addresses[name]}:8000", deadline), role, "tiny")
            for role, name in (("holder", "prefill"), ("receiver", "decode"))
        }
        self.material = prompts.tokenize_with_server(self.clients["holder"].http, "tiny")

    def request(self, number: int, reused: bool, bare: bool) -> dict:
        """A request to the receiver: what the client, the engine and the parameters say, in seconds."""
        pair, receiver = prompts.build(self.material, PREFIX), self.clients["receiver"]
        if reused:
            self.clients["holder"].ask("seed", pair.seed, f"fid-{number}-seed", 1)
            time.sleep(0.1)  # announced by then
        before = histograms(receiver.http)
        extra = {} if reused else knockout_fields()
        if bare:
            ttft_s, itl_s = bare_request(receiver.http.base, pair.reuse, extra)
        else:
            request = receiver.ask("reuse", pair.reuse, f"fid-{number}", NEW_TOKENS, extra)
            if request["error"] or (request["cached_tokens"] > 0) != reused:
                sys.exit(f"request {number} went wrong: {request['error'] or request['cached_tokens']}")
            ttft_s, itl_s = request["ttft_s"], request["itl_s"]["mean"]
        after = histograms(receiver.http)
        gained = {name: value - before.get(name, 0.0) for name, value in after.items()}
        ttft, itl = (gained[name + "_sum"] / gained[name + "_count"] for name in HISTOGRAMS)
        least = POLL_S + self.parameters["prefill_base_s"] + pair.tokens * self.parameters["prefill_token_s"]
        return {
            "reused": reused,
            "bare": bare,
            "ttft": {"client": ttft_s, "engine": ttft, "injected": None if reused else least},
            "itl": {"client": itl_s, "engine": itl, "injected": self.parameters["decode_token_s"]},
        }


def bare_request(base: str, prompt: list[int], extra: dict) -> tuple[float, float]:
    """TTFT and mean ITL of a request with nothing between the clock and the socket."""
    url = urlsplit(base)
    body = {"model": "tiny", "prompt": prompt, "max_tokens": NEW_TOKENS, "temperature": 0, "logprobs": 5, **extra}
    data = json.dumps({**body, "stream": True, "stream_options": {"include_usage": True}}).encode()
    head = (
        f"POST /v1/completions HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    )
    received, times = b"", []
    with socket.create_connection((url.hostname, url.port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = time.perf_counter()
        connection.sendall(head.encode() + data)
        while b"[DONE]" not in received[-200:]:
            received += connection.recv(1 << 16)
            seen = received.count(b'"logprobs":{')
            times += [time.perf_counter()] * (seen - len(times))
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    return times[0] - began, statistics.fmean(gaps)


def measure(slots: Slots, parameters: dict[str, float], requests: int, folder: Path) -> list[dict]:
    env = {f"REHEARSAL_{name.upper()}": value for name, value in parameters.items()}
    with slots.take() as slot, Cluster(slot.lab(folder), {"all": {"env": env}}) as cluster:
        bench = Bench(cluster, parameters)
        for number in range(2):  # first logprobs, first contact of the peers
            bench.request(-1 - number, reused=True, bare=False)
        return [bench.request(number, number % 2 == 1, number % 4 > 1) for number in range(requests)]


def row(name: str, seen: list[dict], what: str, truth: str, beyond: float = 0.0) -> dict | None:
    """Median of the truth and of the error, absolute and in per cent."""
    both = [(entry[what]["client"], entry[what][truth] + beyond) for entry in seen if entry[what][truth] is not None]
    if not both:
        return None
    errors = [client - true for client, true in both]
    middle = statistics.median(true for _, true in both)
    absolute = statistics.median(abs(error) for error in errors)
    return {
        "setting": name,
        "what": what,
        "truth": "socket" if beyond else truth,
        "n": len(both),
        "truth_ms": round(middle * 1000, 3),
        "error_ms": round(statistics.median(errors) * 1000, 3),
        "absolute_ms": round(absolute * 1000, 3),
        "per_cent": round(absolute / middle * 100, 2),
        "met": absolute <= 0.001 or absolute <= 0.01 * middle,
    }


def rows(name: str, seen: list[dict]) -> list[dict]:
    table = []
    for reused in (False, True):
        part = [entry for entry in seen if entry["reused"] is reused]
        ours, bare = ([entry for entry in part if entry["bare"] is which] for which in (False, True))
        label = f"{name}, {'reused' if reused else 'recomputed'}"
        for what in ("ttft", "itl"):
            beyond = statistics.median(entry[what]["client"] - entry[what]["engine"] for entry in bare)
            table += [row(label, ours, what, "engine", beyond), row(label, ours, what, "engine")]
            table.append(row(label, ours, what, "injected"))
    return [entry for entry in table if entry]


def bar(row: dict) -> str:
    return ("met" if row["met"] else "missed") if row["truth"] == "socket" else ""


def page(name: str, table: list[dict]) -> str:
    load = os.getloadavg()[0]
    lines = [
        f"# Fidelity of TTFT and ITL, {name}",
        "",
        f"{os.cpu_count()} cores, {platform.machine()}, load {load:.1f} at the end. The bar is a median error of at",
        "most 1 ms or 1 % from `socket`: the engine's own histograms over the very request, and what a bare socket",
        "needs beyond them, since the engine's HTTP server reads and parses a request before its clock starts.",
        "`engine`: the histograms alone. `injected`: the parameters, which are least times: a sleep ends late.",
        "",
        "| setting | figure | truth | n | truth, ms | median error, ms | absolute, ms | % | bar |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in table:
        lines.append(
            f"| {row['setting']} | {row['what'].upper()} | {row['truth']} | {row['n']} | {row['truth_ms']} | "
            f"{row['error_ms']:+} | {row['absolute_ms']} | {row['per_cent']} | {bar(row)} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--requests", type=int, default=40, help="for each setting, half of them reused, half by a bare socket"
    )
    parser.add_argument("--name", default="idle", help="part of the result's file name")
    args = parser.parse_args()
    slots, table = Slots(), []
    with tempfile.TemporaryDirectory() as folder:
        for name, parameters in SETTINGS.items():
            table += rows(name, measure(slots, parameters, args.requests, Path(folder) / "cluster"))
    outcome.save(f"fidelity-{args.name}", table, text := page(args.name, table))
    print(text)


if __name__ == "__main__":
    main()
