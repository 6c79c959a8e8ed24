#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""learn_metrics.py START.txt LATER.txt ...: what a real engine's /metrics pages consist of, as YAML.

The rehearsal's page is drawn from the result (lab/rehearsal/data/metrics.yml).  START is a page of an engine
that has served nothing yet, with PROMETHEUS_MULTIPROC_DIR set; LATER pages add what only use brings.  Values
are not kept.  To be run again when compare.py reports a drift after an upgrade of vLLM or LMCache.
"""

from __future__ import annotations

import sys

import yaml
from prometheus_client.parser import text_string_to_metric_families

HANDLERS = {"handler": "$handler", "method": "$method", "status": "$status"}


def template(family: str, labels: dict) -> dict:
    """Label values that depend on the engine become $names."""
    found = dict(labels)
    found.pop("le", None)
    if "model_name" in found:
        found["model_name"] = "$model" if family.startswith("lmcache:") else "$served"
    if "served_model_name" in found:
        found["served_model_name"] = "$served"
    if "worker_id" in found:
        found["worker_id"] = "$rank"
    if family.startswith("http_"):
        found.update({name: HANDLERS[name] for name in HANDLERS if name in found})
    if family.startswith("vllm:cache_config_info"):
        found.update(
            block_size="$block_size",
            effective_attention_block_size="$block_size",
            enable_prefix_caching="$prefix_caching",
        )
    return found


def learn(pages: list[str]) -> list[dict]:
    families: dict[str, dict] = {}
    for index, text in enumerate(pages):
        for family in text_string_to_metric_families(text):
            entry = families.setdefault(family.name, {
                "name": family.name, "type": family.type, "help": family.documentation,
                "start": index == 0, "series": [], "buckets": []})  # fmt: skip
            entry["help"] = entry["help"] or family.documentation
            for sample in family.samples:
                series = template(family.name, sample.labels)
                if series not in entry["series"]:
                    entry["series"].append(series)
                if "le" in sample.labels and sample.labels["le"] not in entry["buckets"]:
                    entry["buckets"].append(sample.labels["le"])
    for entry in families.values():
        if not entry["buckets"]:
            del entry["buckets"]
    return list(families.values())


def main() -> None:
    with_texts = []
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as page:
            with_texts.append(page.read())
    print("# What a real engine's /metrics consists of (vLLM 0.32.0, LMCache 0.5.6, PROMETHEUS_MULTIPROC_DIR set).")
    print("# Made by tests/contract/learn_metrics.py from real pages; $names are filled in by page.py.")
    print(yaml.safe_dump(learn(with_texts), sort_keys=False, width=110, default_flow_style=None, allow_unicode=True))


if __name__ == "__main__":
    main()
