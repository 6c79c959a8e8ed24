# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="kv-not-offered",
    link=7,
    kind="failure",
    rank=10,
    title="The prefill engine's answers do not say where the KV is",
    meaning=(
        "A prefill engine that is asked to keep a prompt's KV (do_remote_decode) answers with kv_transfer_params that "
        "say where it is. Without them no decode engine can read it, and every proxy lets the prompt be computed twice."
    ),
    evidence="Answers of the prefill engine, 200 and complete, without usable kv_transfer_params.",
    remedy=(
        "If kv_reuse_url leads to a gateway, give the engine's own address: gateways drop fields that they do not "
        "know. Else look at the engine's --kv-transfer-config and its vLLM."
    ),
    source="vLLM 0.32 nixl/pull_scheduler.py, request_finished",
    architectures=("nixl_pd",),
    covers=("experiment-incomplete", "reuse-absent", "controls-unread"),
)

#: Fields of KV_TRANSFER; without one of them a decode engine parks a request for good, so none is sent.
NEEDED = (
    "do_remote_prefill",
    "remote_engine_id",
    "remote_request_id",
    "remote_host",
    "remote_port",
    "remote_blocks",
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    seeds = [trial.get("seed") or {} for trial in case.trials if not trial.get("reuse")]
    silent = [seed for seed in seeds if not seed.get("error") and seed.get("finish_reason") and _lacks(seed)]
    if silent and len(silent) == len(case.trials):
        yield Sighting(
            case.holder.name,
            "kv_transfer_params that say where the KV is",
            f"without {', '.join(_lacks(silent[0]))}" if silent[0].get("kv_transfer") else "none",
            f"{len(silent)} of {len(silent)} answers offer nothing to read",
        )


def _lacks(seed: dict) -> list[str]:
    offered = seed.get("kv_transfer") or {}
    return [name for name in NEEDED if not offered.get(name)]
