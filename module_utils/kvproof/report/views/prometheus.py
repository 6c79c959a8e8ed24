# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""kv_reuse.prom: the verdicts for node_exporter's textfile collector."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from ...judge.verdict import FAIL, INCONCLUSIVE, PASS
from ...plan.pair import Key, key_of
from .. import document
from ..parts import Pair, Verdict
from .figures import median_of, tunnels

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Gauge

VERDICTS = {PASS: 1, FAIL: 0, INCONCLUSIVE: -1}
STATES = {"holds": 1, "holds (inferred)": 1, "broken": 0, "unknown": -1}
PAIR = ("cluster", "holder", "receiver")


def render(doc: Verdict) -> str:
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    _run(doc, registry)
    _pairs(doc, registry)
    return generate_latest(registry).decode()


def _gauge(registry: CollectorRegistry, name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
    from prometheus_client import Gauge

    return Gauge(name, text, labels, registry=registry)


def _run(doc: Verdict, registry: CollectorRegistry) -> None:
    _gauge(registry, "kv_reuse_run_complete", "1 when the run came to its end").set(doc["status"] == "complete")
    _gauge(registry, "kv_reuse_run_failed", "1 when the run proved less than it should").set(doc["run_fails"])
    for name, time in (("started", doc["started_at"]), ("finished", doc["finished_at"])):
        if time:
            gauge = _gauge(registry, f"kv_reuse_{name}_timestamp_seconds", f"When the run {name}")
            gauge.set(datetime.fromisoformat(time).timestamp())


def _pairs(doc: Verdict, registry: CollectorRegistry) -> None:
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
        names = key_of(pair)
        verdict.labels(*names).set(VERDICTS[pair["verdict"]])
        waived.labels(*names).set(pair["waived"])
        for part in pair["links"]:
            if part["state"] in STATES:
                link.labels(*names, str(part["link"]), part["name"]).set(STATES[part["state"]])
        for request, seconds in _ttft(pair).items():
            ttft.labels(*names, request).set(seconds)
        timing.add(names, pair)
        for host, through in tunnels(pair):
            if through["rtt_s"] is not None:
                tunnel.labels(*names, host).set(through["rtt_s"])
        for outcome, count in pair["counts"].items():
            if outcome != "fresh_prompts":
                prompts.labels(*names, outcome).set(count)
        for entry in pair["findings"]:
            finding.labels(*names, entry["host"], entry["slug"], entry["role"]).set(1)
    for cluster in doc["clusters"]:
        for missing in cluster["not_judged"]:
            verdict.labels(*key_of(missing)).set(VERDICTS[INCONCLUSIVE])


class _Timing:
    """What was measured of the pairs; a series is absent where it was not."""

    def __init__(self, registry: CollectorRegistry):
        def gauge(name: str, text: str, *labels: str) -> Gauge:
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

    def add(self, names: Key, pair: Pair) -> None:
        timing, speed, moved = pair["timing"], pair["performance"], pair["timing"]["moved"]
        if speed:
            ends = speed["interval"]
            bounds = {"median": speed["speedup"], **({"low": ends["low"], "high": ends["high"]} if ends else {})}
            for bound, ratio in bounds.items():
                self._speedup.labels(*names, bound).set(ratio)
        spreads = {key: timing[key] for key in ("itl_s", "tpot_s", "visible_s")}
        spreads.update({key: moved[key] for key in ("transfer_s", "load_s")} if moved else {})
        for key, spread in spreads.items():
            stats = {"median": spread["median"], "p95": spread["p95"], "max": spread["max"]} if spread else {}
            for stat, seconds in stats.items():
                if seconds is not None:
                    self._spreads[key].labels(*names, stat).set(seconds)
        if moved and moved["transfer_gb_s"]:
            self._bandwidth.labels(*names).set(moved["transfer_gb_s"]["median"] * 2**30)
        for length in timing["lengths"]:
            for request, seconds in (("reused", length["reused_s"]), ("recomputed", length["recomputed_s"])):
                if seconds is not None:
                    self._lengths.labels(*names, str(length["tokens"]), request).set(seconds)
        if timing["break_even"] and timing["break_even"]["tokens"] is not None:
            self._break_even.labels(*names).set(timing["break_even"]["tokens"])


def _ttft(pair: Pair) -> dict[str, float]:
    """Seconds by kind of request.  Reused and recomputed come as a pair, or not at all."""
    seed_s, speed = median_of(trial["seed_ttft_s"] for trial in pair["trials"]), pair["performance"]
    seconds = {} if seed_s is None else {"seed": seed_s}
    return {**seconds, "reused": speed["reused_s"], "recomputed": speed["recomputed_s"]} if speed else seconds
