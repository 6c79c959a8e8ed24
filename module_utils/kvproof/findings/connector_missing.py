# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import CERTAIN, LIKELY, Finding, Sighting

OPTION = "kv-transfer-config"
TOLD = ("config", "initialized", "registering", "degraded", "looked_up", "stored")


def look(case, attempts):
    for side in case.sides:
        options = (side.node.get("engine") or {}).get("options") or {}
        if not options or "config" in options or any(name.startswith(OPTION) for name in options):
            continue
        lines = [*(side.log.get("head") or []), *side.events]
        if any(e.get("kind") in TOLD for e in lines):
            continue  # LMCache talks, so it is there
        silent = side.log_readable and any(e.get("kind") == "engine_started" for e in lines)
        yield Sighting(
            side.name,
            f"--{OPTION} with LMCache's connector",
            "no such option on the engine's command line",
            "the engine runs without LMCache",
            strength=CERTAIN if silent else LIKELY,
        )


FINDING = Finding(
    slug="connector-missing",
    link=3,
    kind="cause",
    rank=5,
    title="The engine was started without the LMCache connector",
    meaning=(
        "vLLM loads LMCache only where --kv-transfer-config names its connector. Without it the engine answers every "
        "prompt and computes all of it."
    ),
    evidence="The engine's command line, and a log without a line of LMCache.",
    remedy=(
        "Start vLLM with --kv-transfer-config "
        '\'{"kv_connector": "LMCacheConnectorV1", "kv_role": "kv_both"}\', and see that LMCACHE_CONFIG_FILE is set.'
    ),
    source="vLLM 0.32, LMCache 0.5.6",
    look=look,
    covers=(
        "not-registered",
        "nothing-stored",
        "not-announced",
        "reuse-absent",
        "metrics-missing",
        "log-level-hides-evidence",
    ),
)
