# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""The /metrics page: vLLM's series change at once, LMCache's are published every ten seconds, as in 0.5.6.

data/metrics.yml tells what there is: names, types, HELP, label sets, buckets.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import Metric

FAMILIES: list[dict[str, Any]] = yaml.load(
    (Path(__file__).parent / "data" / "metrics.yml").read_text(encoding="utf-8"),
    getattr(yaml, "CSafeLoader", yaml.SafeLoader),
)
BY_NAME = {family["name"]: family for family in FAMILIES}
Labels = tuple[tuple[str, str], ...]


class Page:
    """All series of one engine.

    ``lmcache``: PROMETHEUS_MULTIPROC_DIR is set, so LMCache's are there, too.  ``connector``: brings series of its own.
    ``loads``: its role has it load KV.
    """

    def __init__(self, names: dict[str, str], world_size: int, *, lmcache: bool, multiprocess: bool,
                 connector: str | None = None, loads: bool = True):  # fmt: skip
        self._names = names
        self._families = [one for one in FAMILIES if (lmcache or not one["name"].startswith("lmcache:"))
                          and one.get("connector") in (None, connector)
                          and (loads or not one.get("loads"))]  # fmt: skip
        self._values: dict[str, dict[Labels, Any]] = {one["name"]: {} for one in self._families}
        for family in self._families:
            if family["start"]:
                for series in family["series"]:
                    for labels in self._expanded(series, world_size):
                        self._values[family["name"]][labels] = _zero(family)
        self._process = CollectorRegistry()  # of this process; a page of several processes leaves it out
        for collector in () if multiprocess else (PlatformCollector, ProcessCollector, GCCollector):
            collector(registry=self._process)

    def _expanded(self, series: dict[str, str], world_size: int) -> Iterable[Labels]:
        ranks = range(world_size) if series.get("role") == "worker" else range(1)
        for rank in ranks:
            names = {**self._names, "$rank": str(rank)}
            yield tuple((key, names.get(value, value)) for key, value in series.items())

    def _labels(self, name: str, labels: dict[str, str]) -> Labels:
        """The whole label set of a family's series that has these labels."""
        template = next(one for one in BY_NAME[name]["series"] if all(
            one.get(key, "").startswith("$") or one.get(key) == value for key, value in labels.items()))  # fmt: skip
        names = {**self._names, "$rank": "0"}
        return tuple((key, labels.get(key, names.get(value, value))) for key, value in template.items())

    def add(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Raises a counter (or a summary: its sum, and its count by one)."""
        if name not in self._values:
            return
        series, key = self._values[name], self._labels(name, labels)
        if BY_NAME[name]["type"] == "summary":
            count, total = series.get(key, (0, 0.0))
            series[key] = (count + 1, total + amount)
        else:
            series[key] = series.get(key, 0.0) + amount

    def put(self, name: str, value: float, **labels: str) -> None:
        """Sets a gauge."""
        if name in self._values:
            self._values[name][self._labels(name, labels)] = value

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Adds a value to a histogram."""
        if name not in self._values:
            return
        series, key = self._values[name], self._labels(name, labels)
        histogram = series.setdefault(key, _zero(BY_NAME[name]))
        histogram["sum"] += value
        for index, limit in enumerate(BY_NAME[name]["buckets"]):
            if value <= float(limit):
                histogram["counts"][index] += 1

    def value(self, name: str, **labels: str) -> float:
        """A counter's or gauge's value, 0 where there is none."""
        return self._values.get(name, {}).get(self._labels(name, labels), 0.0)

    def collect(self) -> Iterable[Metric]:
        """What prometheus_client asks of a registry."""
        for family in self._families:
            name, kind = family["name"], family["type"]
            if not self._values[name] and not family["start"]:
                continue  # only use brings it
            metric = Metric(name, family["help"] or name, kind)
            for labels, value in self._values[name].items():
                for suffix, more, number in _samples(family, value):
                    metric.add_sample(name + suffix, {**dict(labels), **more}, number)
            yield metric
        yield from self._process.collect()

    def text(self) -> bytes:
        return generate_latest(self)


def _zero(family: dict[str, Any]) -> Any:
    if family["type"] == "histogram":
        return {"sum": 0.0, "counts": [0] * len(family["buckets"])}
    return (0, 0.0) if family["type"] == "summary" else 0.0


def _samples(family: dict[str, Any], value: Any) -> Iterable[tuple[str, dict[str, str], float]]:
    if family["type"] == "histogram":
        for limit, count in zip(family["buckets"], value["counts"]):
            yield "_bucket", {"le": limit}, float(count)
        yield "_count", {}, float(value["counts"][-1])
        yield "_sum", {}, value["sum"]
    elif family["type"] == "summary":
        yield "_count", {}, float(value[0])
        yield "_sum", {}, value[1]
    else:
        yield ("_total" if family["type"] == "counter" else ""), {}, value


class LMCacheStats:
    """What one rank of LMCache counted since the last flush."""

    COUNTERS = ("num_retrieve_requests", "num_store_requests", "num_lookup_requests", "num_requested_tokens",
                "num_hit_tokens", "num_stored_tokens", "num_lookup_tokens", "num_lookup_hits",
                "num_prompt_tokens", "num_vllm_hit_tokens", "num_remote_read_requests",
                "num_remote_read_bytes", "num_remote_write_requests", "num_remote_write_bytes",
                "local_cpu_evict_count", "local_cpu_evict_keys_count", "local_cpu_evict_failed_count",
                "lookup_0_hit_requests")  # fmt: skip

    def __init__(self, page: Page, rank: int):
        self._page, self._rank = page, str(rank)
        self._clear()

    def _clear(self) -> None:
        self._counts = dict.fromkeys(self.COUNTERS, 0.0)
        self._observed: list[tuple[str, float]] = []
        self._retrieved = self._required = self._found = self._looked = 0

    def count(self, name: str, amount: float = 1.0) -> None:
        self._counts[name] += amount

    def time(self, name: str, value: float) -> None:
        """A value for a histogram; zero counts as not measured."""
        if value:
            self._observed.append((name, value))

    def store(self, tokens: int, seconds: float, offload_s: float, put_s: float) -> None:
        self.count("num_store_requests")
        self.count("num_stored_tokens", tokens)
        self.time("time_to_store", seconds)
        self.time("store_speed", tokens / seconds if seconds else 0.0)
        self.time("store_process_tokens_time", seconds * 0.05)
        self.time("store_from_gpu_time", offload_s)
        self.time("store_put_time", put_s)

    def retrieve(self, required: int, retrieved: int, seconds: float) -> None:
        self.count("num_retrieve_requests")
        self.count("num_requested_tokens", required)
        self.count("num_hit_tokens", retrieved)
        self._required += required
        self._retrieved += retrieved
        self.time("time_to_retrieve", seconds)
        self.time("retrieve_speed", retrieved / seconds if seconds else 0.0)
        self.time("retrieve_process_tokens_time", seconds * 0.04)
        self.time("retrieve_to_gpu_time", seconds * 0.9)

    def lookup(self, tokens: int, hits: int) -> None:
        """Only synchronous lookups count themselves."""
        self.count("num_lookup_requests")
        self.count("num_lookup_tokens", tokens)
        self.count("num_lookup_hits", hits)
        self._looked += tokens
        self._found += hits
        if not hits:
            self.count("lookup_0_hit_requests")

    def flush(self) -> None:
        """Publishes; the hit rate of an interval in which nothing was retrieved is 1."""
        labels = {"worker_id": self._rank, "role": "worker"}
        for name, amount in self._counts.items():
            if amount:
                self._page.add("lmcache:" + name, amount, **labels)
        for name, value in self._observed:
            self._page.observe("lmcache:" + name, value, **labels)
        rate = self._retrieved / self._required if self._required else 1.0
        self._page.put("lmcache:retrieve_hit_rate", rate, **labels)
        self._page.put("lmcache:lookup_hit_rate", self._found / self._looked if self._looked else 0.0, **labels)
        self._clear()
