# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="reused-locally-not-p2p",
    link=6,
    kind="validity",
    rank=30,
    title="The KV came from the receiver's own cache",
    meaning="The receiver's own LMCache had the chunks: a hit, but not by P2P.",
    evidence="Loaded tokens of this request without a controller answer for it and without a request at the holder.",
    remedy="Probe with fresh prompts (the default) and each engine by its own URL, not through a router.",
    source="LMCache 0.5.6",
    covers=("reuse-absent",),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    local = [a for a in attempts if a.outcome == "local"]
    if local:
        yield Sighting(
            case.receiver.name,
            f"KV sent by {case.holder}",
            f"{local[0].loaded} tokens loaded, {case.holder} was not asked",
            _why(case.receiver),
        )


def _why(receiver) -> str:
    if receiver.server:
        return "the receiver's own cache server had this prefix (L1)"
    if receiver.setting("remote_url") is None:
        return "the receiver held this prefix itself, or a shared store whose configuration was not seen"
    return "the receiver held this prefix itself"
