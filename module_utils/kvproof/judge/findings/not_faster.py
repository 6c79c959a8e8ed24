# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..timing import case_speed
from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="not-faster",
    link=13,
    kind="note",
    rank=10,
    title="Reuse works but is not faster",
    meaning=(
        "The time to the first token with reuse is not below that of a recompute. Below the "
        "break-even length of model and transport this is expected."
    ),
    evidence="Median TTFT of reused and recomputed requests of the same length.",
    remedy=(
        "Try longer prompts (kv_reuse_chunks); over TCP the break-even lies at tens of thousands "
        "of tokens for small models."
    ),
    source="LMCache#3387; llm-d P2P guide",
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    speed = case_speed(case, attempts)
    if speed and speed["speedup"] <= 1:
        yield Sighting(
            case.receiver.name,
            f"below {speed['recomputed_s'] * 1000:.0f} ms",
            f"{speed['reused_s'] * 1000:.0f} ms",
            f"for {speed['tokens']} tokens on this pair",
        )
