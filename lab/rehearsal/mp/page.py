# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""A /metrics page as OpenTelemetry writes it: a series appears with its first increment.

A label that has no value is left out, and stands there empty once another series of the family has it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import Metric

FAMILIES: dict[str, list[dict[str, Any]]] = yaml.safe_load(
    (Path(__file__).parents[1] / "data" / "mp_metrics.yml").read_text(encoding="utf-8")
)
Labels = tuple[tuple[str, str], ...]


class Page:
    """All series of one process.  ``kind``: server or coordinator; ``names``: its service's name and instance."""

    def __init__(self, kind: str, service: str, instance: str):
        self._families = {family["name"]: family for family in FAMILIES[kind]}
        self._target = {"service_instance_id": instance, "service_name": service, "telemetry_sdk_language": "python",
                        "telemetry_sdk_name": "opentelemetry", "telemetry_sdk_version": "1.45.2"}  # fmt: skip
        self._values: dict[str, dict[Labels, Any]] = {
            name: {self._key(labels): 0.0 for labels in family.get("start", [])}
            for name, family in self._families.items()
        }
        self._process = CollectorRegistry()
        for collector in (GCCollector, PlatformCollector, ProcessCollector):
            collector(registry=self._process)

    @staticmethod
    def _key(labels: dict[str, str]) -> Labels:
        return tuple(sorted((name, value) for name, value in labels.items() if value is not None))

    def add(self, name: str, amount: float = 1.0, **labels: str | None) -> None:
        """Raises a counter; a label that is None is left out."""
        series, key = self._values[name], self._key(labels)
        series[key] = series.get(key, 0.0) + amount

    def put(self, name: str, value: float | None, **labels: str | None) -> None:
        """Sets a gauge; None takes it away."""
        if value is None:
            self._values[name].pop(self._key(labels), None)
        else:
            self._values[name][self._key(labels)] = value

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Adds a value to a histogram."""
        self._values[name].setdefault(self._key(labels), []).append(value)

    def collect(self) -> Iterable[Metric]:
        """What prometheus_client asks of a registry."""
        yield from self._process.collect()
        target = Metric("target_info", "Target metadata", "gauge")
        target.add_sample("target_info", self._target, 1.0)
        yield target
        for name, family in self._families.items():
            if self._values[name]:
                yield self._metric(family, self._values[name])

    @staticmethod
    def _metric(family: dict[str, Any], series: dict[Labels, Any]) -> Metric:
        scope = {"otel_scope_name": family["scope"], "otel_scope_schema_url": "", "otel_scope_version": ""}
        every = {name: "" for labels in series for name, _value in labels}
        name, metric = family["name"], Metric(family["name"], family["help"], family["type"])
        for labels, value in series.items():
            whole = {**every, **dict(labels), **scope}
            if family["type"] == "histogram":
                for limit in family["buckets"]:
                    metric.add_sample(f"{name}_bucket", {**whole, "le": limit}, sum(v <= float(limit) for v in value))
                metric.add_sample(f"{name}_count", whole, len(value))
                metric.add_sample(f"{name}_sum", whole, sum(value))
            else:
                metric.add_sample(name + ("_total" if family["type"] == "counter" else ""), whole, value)
        return metric

    def text(self) -> bytes:
        return generate_latest(self)
