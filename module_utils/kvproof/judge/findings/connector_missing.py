# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ...stack.architectures import CONNECTORS, GIVES_ONE, IN_PROCESS
from ..attempt import REUSED
from . import CERTAIN, HINT, MISSES, Attempt, Case, Finding, Sighting, Sightings
from .log_level_hides_evidence import HIDING

FINDING = Finding(
    slug="connector-missing",
    link=3,
    kind="cause",
    rank=5,
    title="The engine was started without a connector",
    meaning=(
        "vLLM shares KV only where --kv-transfer-config names a connector. Without one the engine answers every prompt "
        "and computes the whole of it. Where the other engine has one, nothing is sent: some die of such requests."
    ),
    evidence="The engine's command line, and a log without a line of LMCache.",
    remedy=(
        "Start vLLM with --kv-transfer-config "
        '\'{"kv_connector": "LMCacheConnectorV1", "kv_role": "kv_both"}\', and see that LMCACHE_CONFIG_FILE is set.'
    ),
    source="vLLM 0.32, LMCache 0.5.6",
    explains=MISSES | {"withheld"},
    covers=(
        "requests-withheld",
        "experiment-incomplete",
        "controls-unread",
        "not-registered",
        "nothing-stored",
        "not-announced",
        "reuse-absent",
        "metrics-missing",
        "log-level-hides-evidence",
    ),
)


NAMES = {architecture: connector for connector, architecture in CONNECTORS.items()}
OF_ANOTHER = "Start vLLM with --kv-transfer-config that names {}, with the options that the other engine has."
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
        connector = NAMES.get(case.architecture, IN_PROCESS)
        yield Sighting(
            side.name,
            f"--kv-transfer-config with {connector}",
            "no such option on the engine's command line" + (", and no line of LMCache in its log" if started else ""),
            "the engine shares no KV",
            remedy=None if connector == IN_PROCESS else OF_ANOTHER.format(connector),
            strength=CERTAIN if started and not hidden else HINT,
        )
