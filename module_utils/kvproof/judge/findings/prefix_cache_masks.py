# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Finding, Sighting

FINDING = Finding(
    slug="prefix-cache-masks",
    link=6,
    kind="validity",
    rank=20,
    title="The engine's own prefix cache answered",
    meaning="vLLM had the prefix itself, so nothing was fetched and nothing about P2P was tested.",
    evidence="`Inference Engine computed tokens` above 0 and `need to load` 0 for the reuse request.",
    remedy=(
        "Let the probe use fresh prompts (it does by default); a proxy that sends both requests "
        "to one engine does this too: probe the engines directly."
    ),
    source="LMCache 0.5.6 vllm_v1_adapter.py",
    covers=("reuse-absent", "reused-locally-not-p2p"),
)


def look(case, attempts):
    masked = [a for a in attempts if a.outcome == "masked"]
    if masked:
        yield Sighting(
            case.receiver.name,
            "a prefix this engine has never seen",
            f"{masked[0].computed} tokens computed earlier by the engine itself",
            "the prefix cache was warm",
        )
