# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which experiment a pair gets, and whether it may get one: a request that an engine could die of is never sent.

Engines that get none are greeted all the same (GET /health, /v1/models, /version and /metrics change nothing), so that
what can be known is shown.
"""

from __future__ import annotations

from typing import Any

from ..stack.architectures import IN_WORDS, INPROCESS_P2P, KILLERS
from .engine import Engine, EngineSettings
from .experiment import Experiment
from .inprocess_p2p import InProcessP2P
from .options import Settings

#: Architecture → the experiment that probes it.
EXPERIMENTS = {INPROCESS_P2P: InProcessP2P}
#: vLLM 0.32 has this series on every engine that may fetch KV (vllm/v1/metrics/loggers.py:569), and on no other.
FETCHES, FETCHES_SINCE = "vllm:num_requests_kv_fetch_by_stage", (0, 32)


def run(
    settings: Settings, holder: EngineSettings, receiver: EngineSettings, controller_url: str | None
) -> dict[str, Any]:
    """PROBE of the experiment that is right for this pair, or of greetings alone; raises as Experiment does."""
    name = architecture(holder)
    experiment = EXPERIMENTS.get(name, Experiment)(settings, holder, receiver, controller_url)
    return {**experiment.run(withheld(holder, receiver), unbearable), "architecture": name}


def withheld(holder: EngineSettings, receiver: EngineSettings) -> str | None:
    """Why no prompt may be sent to this pair; None where one may.

    An engine that nobody looked at is taken for one of the in-process P2P, as is one that showed nothing.
    """
    for side in (holder, receiver):
        runs = side.runs or {}
        of_role = KILLERS.get((runs.get("architecture"), runs.get("kv_role")))
        if of_role and runs["architecture"] not in EXPERIMENTS:
            return f"{side.name} runs {IN_WORDS[runs['architecture']]} as {runs['kv_role']}: {of_role}"
    names = [architecture(side) for side in (holder, receiver)]
    if names[0] != names[1]:
        return f"{holder.name} runs {in_words(holder)}, {receiver.name} runs {in_words(receiver)}"
    if names[0] not in EXPERIMENTS:
        return f"both run {in_words(holder)}, which this kvproof has no experiment for"
    return None


def architecture(side: EngineSettings) -> str:
    """What an engine is taken for: its architecture, or the name of a connector that is none's."""
    runs = side.runs or {}
    return runs.get("architecture") or runs.get("connector") or INPROCESS_P2P


def in_words(side: EngineSettings) -> str:
    name = architecture(side)
    return IN_WORDS.get(name, f"the connector {name}")


def unbearable(engine: Engine) -> str | None:
    """Why an engine that nobody looked at may not be sent a prompt, by its metrics; None where they do not say so.

    LMCache in an engine that fetches no KV is that of a prefill engine of LMCache's prefill/decode transfer.
    """
    runs, version = engine.settings.runs or {}, _version(engine.document["version"])
    if runs.get("architecture") or runs.get("connector") or version < FETCHES_SINCE:
        return None
    page = engine.scrape()
    if page["state"] != "ok" or not page["lmcache"] or FETCHES in page["values"]:
        return None
    return (
        f"{engine.settings.name} has LMCache's metrics and none of KV fetched, as prefill engines of LMCache's "
        "prefill/decode transfer have: a completion without disagg_spec would end its process; say what it is in "
        "kv_reuse_architecture"
    )


def _version(text: str | None) -> tuple[int, ...]:
    parts = (text or "").split(".")[:2]
    return tuple(int(part) for part in parts) if len(parts) == 2 and all(part.isdigit() for part in parts) else (0,)
