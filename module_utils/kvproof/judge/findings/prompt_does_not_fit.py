# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="prompt-does-not-fit",
    link=6,
    kind="validity",
    rank=11,
    title="The prompt does not fit the engine",
    meaning="The probe would exceed max_model_len or the bound on probe KV, so it was not sent.",
    evidence="max_model_len of /v1/models, kv_reuse_max_probe_mb.",
    remedy="Lower kv_reuse_chunks or kv_reuse_max_tokens, or raise kv_reuse_max_probe_mb.",
    source="kvproof",
    voids=True,
    covers=("reuse-absent", "experiment-incomplete"),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    refused = case.prompt.get("refused") or {}
    if refused and refused.get("slug") not in ("prompt-shorter-than-chunk", "below-min-retrieve"):
        yield Sighting(case.receiver.name, "a prompt that fits", str(refused.get("text")), "nothing was sent")
