# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""kv_reuse.prom: the verdicts for node_exporter's textfile collector."""

from __future__ import annotations

from datetime import datetime

from .. import document
from ..parts import Pair, Verdict
from .figures import median_of, tunnels

VERDICTS = {document.PASS: 1, document.FAIL: 0, document.INCONCLUSIVE: -1}
STATES = {"holds": 1, "holds (inferred)": 1, "broken": 0, "unknown": -1}
PAIR = ("cluster", "holder", "receiver")


def render(doc: Verdict) -> str:
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    _run(doc, registry)
    _pairs(doc, registry)
    return generate_latest(registry).decode()


def _gauge(registry, name: str, text: str, labels: tuple = ()):
    from prometheus_client import Gauge

    return Gauge(name, text, labels, registry=registry)


def _run(doc: Verdict, registry) -> None:
    _gauge(registry, "kv_reuse_run_complete", "1 when the run came to its end").set(doc["status"] == "complete")
    _gauge(registry, "kv_reuse_run_failed", "1 when the run proved less than it should").set(doc["run_fails"])
    for name in ("started", "finished"):
        if doc[f"{name}_at"]:
            gauge = _gauge(registry, f"kv_reuse_{name}_timestamp_seconds", f"When the run {name}")
            gauge.set(datetime.fromisoformat(doc[f"{name}_at"]).timestamp())


def _pairs(doc: Verdict, registry) -> None:
    verdict = _gauge(registry, "kv_reuse_verdict", "1 pass, 0 fail, -1 inconclusive or not judged", PAIR)
    waived = _gauge(registry, "kv_reuse_waived", "1 when an operator accepts the pair's findings", PAIR)
    link = _gauge(
        registry, "kv_reuse_link_state", "1 holds, 0 broken, -1 unknown; absent: not needed", (*PAIR, "link", "name")
    )
    ttft = _gauge(registry, "kv_reuse_ttft_seconds", "Median time to the first token", (*PAIR, "request"))
    tunnel = _gauge(registry, "kv_reuse_tunnel_rtt_seconds", "Median round trip of the SSH tunnel", (*PAIR, "host"))
    prompts = _gauge(registry, "kv_reuse_fresh_prompts", "Fresh prompts by what became of them", (*PAIR, "outcome"))
    timing = _Timing(registry)
    finding = _gauge(registry, "kv_reuse_finding", "1 for each finding of a pair", (*PAIR, "host", "finding", "role"))
    for pair in document.all_pairs(doc):
        names = [pair[key] for key in PAIR]
        verdict.labels(*names).set(VERDICTS[pair["verdict"]])
        waived.labels(*names).set(pair["waived"])
        for one in pair["links"]:
            if one["state"] in STATES:
                link.labels(*names, str(one["link"]), one["name"]).set(STATES[one["state"]])
        for request, seconds in _ttft(pair).items():
            ttft.labels(*names, request).set(seconds)
        timing.add(names, pair)
        for host, through in tunnels(pair):
            if through["rtt_s"] is not None:
                tunnel.labels(*names, host).set(through["rtt_s"])
        for outcome, count in pair["counts"].items():
            if outcome != "fresh_prompts":
                prompts.labels(*names, outcome).set(count)
        for one in pair["findings"]:
            finding.labels(*names, one["host"], one["slug"], one["role"]).set(1)
    for cluster in doc["clusters"]:
        for pair in cluster["not_judged"]:
            verdict.labels(*(pair[key] for key in PAIR)).set(VERDICTS[document.INCONCLUSIVE])


class _Timing:
    """What was measured of the pairs; a series is absent where it was not."""

    def __init__(self, registry):
        def gauge(name: str, text: str, *labels: str):
            return _gauge(registry, f"kv_reuse_{name}", text, (*PAIR, *labels))

        self._speedup = gauge("speedup_ratio", "TTFT recomputed to reused: median and 95 % interval", "bound")
        self._spreads = {
            "itl_s": gauge("itl_seconds", "Time between tokens of the second requests", "stat"),
            "tpot_s": gauge("tpot_seconds", "Time per output token of the second requests", "stat"),
            "visible_s": gauge("store_visible_seconds", "From the end of a seed until its KV was seen stored", "stat"),
            "transfer_s": gauge("transfer_seconds", "Transfer from the holder, by request id", "stat"),
            "load_s": gauge("load_seconds", "Load into the receiver's cache, by request id", "stat"),
        }
        self._bandwidth = gauge("transfer_bytes_per_second", "Median bandwidth of the transfers")
        self._lengths = gauge("length_ttft_seconds", "Median TTFT by length of the prompt", "tokens", "request")
        self._break_even = gauge("break_even_tokens", "Length of prompt from which on reuse is faster")

    def add(self, names: list[str], pair: Pair) -> None:
        timing, speed = pair.get("timing") or {}, pair["performance"]
        if speed:
            bounds = {"median": speed["speedup"], **(speed.get("interval") or {})}
            for bound, value in bounds.items():
                self._speedup.labels(*names, bound).set(value)
        moved = timing.get("moved") or {}
        for key, gauge in self._spreads.items():
            for stat in ("median", "p95", "max"):
                value = ({**timing, **moved}.get(key) or {}).get(stat)
                if value is not None:
                    gauge.labels(*names, stat).set(value)
        if moved.get("transfer_gb_s"):
            self._bandwidth.labels(*names).set(moved["transfer_gb_s"]["median"] * 2**30)
        for one in timing.get("lengths") or []:
            for request in ("reused", "recomputed"):
                if one[f"{request}_s"] is not None:
                    self._lengths.labels(*names, str(one["tokens"]), request).set(one[f"{request}_s"])
        tokens = (timing.get("break_even") or {}).get("tokens")
        if tokens is not None:
            self._break_even.labels(*names).set(tokens)


def _ttft(pair: Pair) -> dict[str, float]:
    """Seconds by kind of request.  Reused and recomputed come as a pair, or not at all."""
    seed, speed = median_of(trial["seed_ttft_s"] for trial in pair["trials"]), pair["performance"] or {}
    found = {"seed": seed, "reused": speed.get("reused_s"), "recomputed": speed.get("recomputed_s")}
    return {request: seconds for request, seconds in found.items() if seconds is not None}
