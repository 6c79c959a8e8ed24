#!/usr/bin/env python3
# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""TTFT and ITL of kvproof's probe and of AIPerf against the truth, on one rehearsal engine, with the same requests.

    python3 -m venv /tmp/aiperf && /tmp/aiperf/bin/pip install aiperf==0.13.0
    .cache/venv/bin/python bench/aiperf.py --aiperf /tmp/aiperf/bin/aiperf [--requests 20] [--name idle]

For each setting of the engine's speed (those of bench/fidelity.py) kvproof sends half of its requests, then AIPerf all
of its own, then kvproof the other half; half of all are recomputed and half reused.  AIPerf gets request bodies like
kvproof's (`raw-payload`) at a constant rate, slow enough that never two are at the engine, which is how kvproof sends.
The truth is that of bench/fidelity.py: the engine's own histograms over the very request, and what a bare socket needs
beyond them; for recomputed prompts also the injected parameters.

AIPerf's `builtin` tokenizer is fetched from the internet, so a tokenizer without words is made on the spot: AIPerf
wants one to start and takes the counts from the engine.  Its services share the machine with the engine, as they do
wherever it runs on one.  Writes bench/results/aiperf-NAME.json and .md.  Wants an idle machine; about 5 minutes.
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
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import fidelity
import outcome
from fidelity import HISTOGRAMS, SETTINGS, Bench, Cluster, Slots, knockout_fields, prompts

TRUTHS = {"ttft": ("engine", "injected"), "itl": ("engine",)}


def make_tokenizer(folder: Path) -> Path:
    folder.mkdir()
    model = {"type": "WordLevel", "vocab": {"<unk>": 0}, "unk_token": "<unk>"}
    empty = dict.fromkeys(("truncation", "padding", "normalizer", "post_processor", "decoder"))
    whole = {"version": "1.0", **empty, "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"}, "model": model}
    (folder / "tokenizer.json").write_text(json.dumps(whole))
    kind = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(kind))
    return folder


def write_requests(bench: Bench, count: int, path: Path) -> None:
    """Bodies as the probe sends them, every other one with a prompt that the holder has."""
    with open(path, "w", encoding="utf-8") as out:
        for number in range(count):
            pair, extra = prompts.build(bench.material, fidelity.PREFIX), {}
            if number % 2:
                bench.clients["holder"].ask("seed", pair.seed, f"aip-{number}-seed", 1)
            else:
                extra = knockout_fields()
            body = {
                "model": "tiny",
                "prompt": pair.reuse,
                "max_tokens": fidelity.NEW_TOKENS,
                "temperature": 0,
                "logprobs": 5,
            }
            body.update(stream=True, stream_options={"include_usage": True}, **extra)
            out.write(json.dumps({"messages": [], **body}) + "\n")  # AIPerf wants messages, the engine passes them over


class Truths(threading.Thread):
    """The engine's histograms, read in the pause after each of AIPerf's requests, which the engine's log announces."""

    def __init__(self, bench: Bench, log: Path, pause_s: float):
        super().__init__(daemon=True)
        self.http, self.log, self.pause_s = bench.clients["receiver"].http, log, pause_s
        self.over, self.readings = threading.Event(), []

    def run(self) -> None:
        before = fidelity.histograms(self.http)
        with open(self.log, "rb") as log:
            log.seek(0, os.SEEK_END)
            while not self.over.wait(0.02):
                if b"POST /v1/completions" not in log.read():
                    continue
                time.sleep(self.pause_s)
                after = fidelity.histograms(self.http)
                gained = {name: value - before.get(name, 0.0) for name, value in after.items()}
                self.readings.append([gained[name + "_sum"] / gained[name + "_count"] for name in HISTOGRAMS])
                if gained[HISTOGRAMS[0] + "_count"] != 1:
                    self.readings.append(None)  # two at once: the figures belong to neither
                before = after


def run_aiperf(command: str, bench: Bench, count: int, log: Path, folder: Path) -> list[dict]:
    """AIPerf's requests in the shape of Bench.request(), in the order they were sent."""
    folder.mkdir()
    write_requests(bench, count, folder / "requests.jsonl")
    speed = bench.parameters
    lasts_s = (
        fidelity.POLL_S
        + speed["prefill_base_s"]
        + 1100 * speed["prefill_token_s"]
        + 40 * (speed["decode_token_s"] + 0.001)
    )
    truths = Truths(bench, log, lasts_s + 0.2)
    words = [
        command, "profile", "--model", "tiny", "--url", bench.clients["receiver"].http.base,
        "--endpoint-type", "completions", "--streaming", "--custom-dataset-type", "raw-payload",
        "--input-file", str(folder / "requests.jsonl"), "--tokenizer", str(make_tokenizer(folder / "tokenizer")),
        "--use-server-token-count", "--request-count", str(count), "--arrival-pattern", "constant",
        "--request-rate", f"{1 / (2 * lasts_s + 0.6):.3f}", "--workers-max", "1", "--record-processors", "1",
        "--no-server-metrics", "--no-gpu-telemetry", "--ui", "none", "--export-level", "records",
        "--output-artifact-dir", str(folder / "out"),
    ]  # fmt: skip
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    truths.start()
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, check=False)
    truths.over.set()
    truths.join()
    if done.returncode:
        sys.exit(f"aiperf ended with code {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    records = [json.loads(line) for line in (folder / "out" / "profile_export.jsonl").read_text().splitlines()]
    records.sort(key=lambda record: record["metadata"]["request_start_ns"])
    if len(records) != len(truths.readings) or None in truths.readings:
        sys.exit(f"{len(records)} requests and {len(truths.readings)} readings of the engine: the machine is too busy")
    return [entry(record["metrics"], truth, speed) for record, truth in zip(records, truths.readings)]


def entry(metrics: dict, truth: list[float], speed: dict) -> dict:
    value = {name: figure["value"] for name, figure in metrics.items()}
    reused = value["usage_prompt_cache_read_tokens"] > 0
    least = fidelity.POLL_S + speed["prefill_base_s"] + value["usage_prompt_tokens"] * speed["prefill_token_s"]
    ttft, itl = value["time_to_first_token"] / 1000, value["inter_token_latency"] / 1000
    return {
        "reused": reused,
        "ttft": {"client": ttft, "engine": truth[0], "injected": None if reused else least},
        "itl": {"client": itl, "engine": truth[1], "injected": speed["decode_token_s"]},
    }


def measure(slots: Slots, args: argparse.Namespace, speed: dict, folder: Path) -> dict[str, list[dict]]:
    """Requests by who sent them: kvproof, AIPerf, a bare socket."""
    env = {f"REHEARSAL_{name.upper()}": value for name, value in speed.items()}
    fault = {"all": {"env": env}}
    with slots.take() as slot, Cluster(slot.lab(folder / "cluster"), fault) as cluster:
        bench = Bench(cluster, speed)
        for number in range(2):  # first logprobs, first contact of the peers
            bench.request(-1 - number, reused=True, bare=False)
        first = [bench.request(number, number % 2 == 1, number % 4 > 1) for number in range(args.requests)]
        theirs = run_aiperf(args.aiperf, bench, args.requests, cluster.log("decode"), folder / "aiperf")
        more = range(args.requests, 2 * args.requests)
        seen = first + [bench.request(number, number % 2 == 1, number % 4 > 1) for number in more]
    ours, bare = ([request for request in seen if request["bare"] is which] for which in (False, True))
    return {"kvproof": ours, "AIPerf": theirs, "bare": bare}


def rows(setting: str, seen: dict[str, list[dict]]) -> list[dict]:
    table = []
    for reused in (False, True):
        part = {who: [entry for entry in entries if entry["reused"] is reused] for who, entries in seen.items()}
        for what, truths in TRUTHS.items():
            beyond = statistics.median(entry[what]["client"] - entry[what]["engine"] for entry in part["bare"])
            for truth in truths:
                for who in ("kvproof", "AIPerf"):
                    label = f"{setting}, {'reused' if reused else 'recomputed'}"
                    row = fidelity.row(label, part[who], what, truth, beyond if truth == "engine" else 0.0)
                    table += [{**row, "who": who}] if row else []
    return table


def page(name: str, version: str, table: list[dict]) -> str:
    lines = [
        f"# TTFT and ITL: kvproof and AIPerf {version}, {name}",
        "",
        f"{os.cpu_count()} cores, {platform.machine()}, load {os.getloadavg()[0]:.1f} at the end, one machine for all.",
        "Errors are medians over the requests, in ms. `socket` is the truth of the bar (at most 1 ms or 1 %): the",
        "engine's own histograms and what a bare socket needs beyond them. `injected` are least times.",
        "",
        "| setting | figure | truth | ms | kvproof: error | absolute | % | AIPerf: error | absolute | % | nearer |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    pairs = list(zip(table[::2], table[1::2]))
    for ours, theirs in pairs:
        nearer = min((ours, theirs), key=lambda row: row["absolute_ms"])["who"]
        cells = [ours["setting"], ours["what"].upper(), ours["truth"], ours["truth_ms"]]
        for row in (ours, theirs):
            cells += [f"{row['error_ms']:+}", row["absolute_ms"], row["per_cent"]]
        lines.append("| " + " | ".join(str(cell) for cell in [*cells, nearer]) + " |")
    bars = [ours["met"] for ours, _ in pairs if ours["truth"] == "socket"]
    near = sum(ours["absolute_ms"] <= theirs["absolute_ms"] for ours, theirs in pairs)
    lines += [
        "",
        f"kvproof is within the bar in {sum(bars)} of {len(bars)} rows against `socket`, and as near as AIPerf or",
        f"nearer in {near} of {len(pairs)} rows.",
    ]
    for what in TRUTHS:
        own = [row for row in table if (row["what"], row["truth"]) == (what, "socket")]
        errors_of = {who: [row["absolute_ms"] for row in own if row["who"] == who] for who in ("kvproof", "AIPerf")}
        medians = ", ".join(f"{who} {statistics.median(values):.3f} ms" for who, values in errors_of.items())
        lines += ["", f"Absolute error of {what.upper()} against `socket`, median of the rows: {medians}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--aiperf", required=True, help="the aiperf command, in a virtual environment of its own")
    parser.add_argument("--requests", type=int, default=20, help="of each client for each setting, half of them reused")
    parser.add_argument("--name", default="idle", help="part of the result's file name")
    args = parser.parse_args()
    try:
        version = subprocess.run([args.aiperf, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"--aiperf: {args.aiperf} does not run: {error}")
    slots, table = Slots(), []
    with tempfile.TemporaryDirectory() as folder:
        for setting, speed in SETTINGS.items():
            table += rows(setting, measure(slots, args, speed, Path(folder) / setting.replace(" ", "-")))
    outcome.save(f"aiperf-{args.name}", table, text := page(args.name, version, table))
    print(text)


if __name__ == "__main__":
    main()
