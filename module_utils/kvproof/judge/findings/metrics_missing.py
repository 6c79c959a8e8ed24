# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..pasted import HINT, SETTING, UNSET, Sign
from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="metrics-missing",
    link=2,
    kind="note",
    rank=90,
    title="LMCache's metrics are not exported",
    meaning="/metrics has no lmcache: series, so counters cannot be shown. Reuse itself does not depend on it.",
    evidence="/metrics of the engine.",
    remedy="Set PROMETHEUS_MULTIPROC_DIR for the engine, and kv_reuse_metrics_url if /metrics is elsewhere.",
    source="LMCache 0.5.6",
    architectures=("inprocess_p2p", "lmcache_pd"),
    cause_class="OBS",
    cannot="Anything about reuse: it may work all the same.",
)

FOLDER = "PROMETHEUS_MULTIPROC_DIR"


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    for side in case.sides:
        page = (side.engine.get("metrics") or {}).get("after") or (side.engine.get("metrics") or {}).get("before")
        if not page:
            continue
        if page.get("state") != "ok":
            error = (page.get("error") or {}).get("text") or "what was served is not the Prometheus text format"
            yield Sighting(side.name, "Prometheus text at the metrics URL", str(error), "counters could not be read")
        elif not page.get("lmcache"):
            yield Sighting(side.name, "lmcache: series in /metrics", "none", f"{FOLDER} is not set for this engine")


def pasted(material):
    for node in material.nodes:
        if node.page and not node.page["lmcache"]:
            yield Sign(node.role, "the metrics page has no lmcache: series", HINT)
    if material.env(FOLDER) == UNSET and not material.misses and not material.is_shared:
        yield Sign(material.nodes[0].role, f"{FOLDER} is not set", SETTING)
