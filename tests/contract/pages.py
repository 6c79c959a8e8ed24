# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""Two /metrics pages compared: families, types, HELP, label names, and the values of labels that are closed sets."""

from __future__ import annotations

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

CLOSED = ("source", "reason", "stage", "sleep_state", "finished_reason", "role", "engine", "worker_id", "le")


def contents(text: str) -> dict[str, dict[str, Any]]:
    """family → type, help and the label sets it shows."""
    found: dict[str, dict[str, Any]] = {}
    for family in text_string_to_metric_families(text):
        entry = found.setdefault(family.name, {"type": family.type, "help": family.documentation, "labels": set()})
        for sample in family.samples:
            closed = tuple(sorted((name, value if name in CLOSED else "*") for name, value in sample.labels.items()))
            entry["labels"].add((sample.name, closed))
    return found


def compare(real: str, rehearsal: str) -> list[str]:
    """One sentence per difference."""
    here, there = contents(rehearsal), contents(real)
    found = [f"metrics: {name} is missing" for name in there.keys() - here.keys()]
    found += [f"metrics: {name} does not really exist" for name in here.keys() - there.keys()]
    for name in sorted(here.keys() & there.keys()):
        for part in ("type", "help"):
            if here[name][part] != there[name][part]:
                found.append(f"metrics: {name} has the {part} {here[name][part]!r}, really {there[name][part]!r}")
        for what, labels in (("lacks", there[name]["labels"] - here[name]["labels"]),
                             ("has, and not really,", here[name]["labels"] - there[name]["labels"])):  # fmt: skip
            if labels:
                found.append(f"metrics: {name} {what} {sorted(labels)[:3]}")
    return sorted(found)
