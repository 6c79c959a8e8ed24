# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ...stack.settings import as_bool
from ..pasted import Sign, quoted
from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="p2p-settings-incomplete",
    link=4,
    kind="cause",
    rank=6,
    title="Settings that P2P sharing needs are missing",
    meaning=(
        "LMCache asserts at start that P2P has its host, ports, transfer channel and a controller. An engine without "
        "one of them exits, mostly with a bare AssertionError."
    ),
    evidence="The error at the end of the engine's start in its log; for a bare AssertionError, the LMCache YAML, too.",
    remedy=(
        "Set enable_controller: true, controller_pull_url, controller_reply_url, lmcache_worker_ports, p2p_host, "
        "p2p_init_ports, p2p_lookup_ports and transfer_channel: nixl; start the engine."
    ),
    source="LMCache 0.5.6 v1/config.py:735",
    architectures=("inprocess_p2p",),
    explains=frozenset(["engine-down"]),
    covers=("engine-unreachable", "engine-errors", "process-unreadable", "experiment-incomplete"),
    cause_class="CONFIG_KEY",
    cannot="Which other settings are missing: LMCache names one at a time.",
)


BARE = "AssertionError"
WANTED = {
    "enable_controller": ("controller_pull_url", "controller_reply_url", "lmcache_worker_ports"),
    "enable_p2p": ("p2p_host", "p2p_init_ports", "p2p_lookup_ports", "transfer_channel"),
}


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    for side in case.sides:
        refused = [str(e.get("text")) for e in side.head("config_refused")]
        reasons = [text for text in refused if text != BARE]
        missing = _missing(side.file_values or {}) if refused else []
        if reasons or missing:
            yield Sighting(
                side.name,
                "all that P2P sharing needs: " + ", ".join(key for keys in WANTED.values() for key in keys),
                reasons[-1] if reasons else f"{BARE} at start, and the file lacks " + ", ".join(missing),
                "LMCache refuses to start without it",
            )


def _missing(values: dict) -> list[str]:
    """What a file lacks.  The environment may have it, so this explains a refusal and proves none."""
    on = [flag for flag in WANTED if as_bool(values.get(flag))]
    missing = [key for flag in on for key in WANTED[flag] if values.get(key) in (None, [], "")]
    return missing + (["enable_controller: true"] if on == ["enable_p2p"] else [])


def pasted(material):
    for node in material.nodes:
        for event in node.events:
            if event["kind"] == "config_refused" and event["text"] != BARE:
                yield Sign(node.role, quoted(event["line"]))
                break
