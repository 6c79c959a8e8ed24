# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..routed import closed, where
from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="router-unreachable",
    link=13,
    kind="failure",
    rank=6,
    title="No prompt comes through the router",
    meaning=(
        "The engines answered when they were asked themselves; the same kind of prompt through the router met a closed "
        "door or a server's error. Nobody who comes this way is served, with or without reused KV."
    ),
    evidence="Completions sent to kv_reuse_router_url: no connection, an answer that breaks off, or a status of 5xx.",
    remedy=(
        "Check that the router runs and knows its engines, that kv_reuse_router_url names its address and port, and "
        "that the machine that runs the playbook can reach it."
    ),
    source="kvproof",
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    met = closed(case)
    if met:
        url = (case.probe.get("router") or {}).get("url")
        yield Sighting(where(case), f"answers to completions from {url}", met, "no prompt came through")
