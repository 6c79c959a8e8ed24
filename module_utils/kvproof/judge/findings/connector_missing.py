# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ...stack.architectures import GIVES_ONE
from ..attempt import REUSED
from . import CERTAIN, HINT, Attempt, Case, Finding, Sighting, Sightings
from .log_level_hides_evidence import HIDING

FINDING = Finding(
    slug="connector-missing",
    link=3,
    kind="cause",
    rank=5,
    title="The engine was started without the LMCache connector",
    meaning=(
        "vLLM loads LMCache only where --kv-transfer-config names its connector. Without it the engine answers every "
        "prompt and computes the whole of it."
    ),
    evidence="The engine's command line, and a log without a line of LMCache.",
    remedy=(
        "Start vLLM with --kv-transfer-config "
        '\'{"kv_connector": "LMCacheConnectorV1", "kv_role": "kv_both"}\', and see that LMCACHE_CONFIG_FILE is set.'
    ),
    source="vLLM 0.32, LMCache 0.5.6",
    covers=(
        "not-registered",
        "nothing-stored",
        "not-announced",
        "reuse-absent",
        "metrics-missing",
        "log-level-hides-evidence",
    ),
)


OF_LMCACHE = ("config", "initialized", "registering", "degraded", "looked_up", "stored")


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    if any(a.outcome in REUSED for a in attempts):
        return  # whatever names it, it is there
    for side in case.sides:
        engine = side.node.get("engine") or {}
        lines = [*(side.log.get("head") or []), *side.events]
        options = engine.get("options") or {}
        talks = any(e.get("kind") in OF_LMCACHE for e in lines)
        if not options or talks or any(name in options for name in GIVES_ONE):
            continue
        hidden = str((engine.get("env") or {}).get("LMCACHE_LOG_LEVEL")).upper() in HIDING
        started = side.log_readable and any(e.get("kind") == "engine_started" for e in lines)
        yield Sighting(
            side.name,
            "--kv-transfer-config with LMCache's connector",
            "no such option on the engine's command line" + (", and no line of LMCache in its log" if started else ""),
            "the engine runs without LMCache",
            strength=CERTAIN if started and not hidden else HINT,
        )
