# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="log-level-hides-evidence",
    link=7,
    kind="note",
    rank=91,
    title="The log level hides the evidence",
    meaning=(
        "LMCache logs its lookups and transfers at INFO. With LMCACHE_LOG_LEVEL above that, the "
        "log is silent about every request."
    ),
    evidence="LMCACHE_LOG_LEVEL of the engine, or a log without LMCache INFO lines.",
    remedy="Start the engine with LMCACHE_LOG_LEVEL=INFO.",
    source="LMCache 0.5.6",
    architectures=("inprocess_p2p", "lmcache_pd"),
)


HIDING = ("WARNING", "WARN", "ERROR", "CRITICAL")
OF_REQUESTS = ("looked_up", "below_min_retrieve", "stored", "retrieved", "peer_asked")


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    for side in case.sides:
        if not side.log_readable or any(e.get("kind") in OF_REQUESTS for e in side.events):
            continue
        level = str(((side.node.get("engine") or {}).get("env") or {}).get("LMCACHE_LOG_LEVEL") or "").upper()
        info = (side.log.get("levels") or {}).get("INFO")
        if level in HIDING or info == 0:
            yield Sighting(
                side.name,
                "LMCache INFO lines",
                f"LMCACHE_LOG_LEVEL={level}" if level else "no LMCache INFO line in the log",
                "the lines that name requests are not written",
            )
