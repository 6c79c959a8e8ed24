# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="prompt-shortened",
    link=6,
    kind="note",
    title="Shorter prompts than usual",
    meaning=(
        "The bound on the probe's own KV, shared by all pairs of the run that use an engine, or max_model_len leaves "
        "room for less."
    ),
    evidence="KV bytes of a token (internal API, /meta) times this pair's prompts, against its share of the bound.",
    remedy="Raise kv_reuse_max_probe_mb where the pools are large enough, or lower kv_reuse_trials.",
    source="kvproof: kv_reuse_max_probe_mb",
)

REASON, WINDOW = "users' KV is not to be evicted", "a longer prompt is refused by the engine"


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    shortened = case.prompt.get("shortened")
    if shortened and not case.prompt.get("refused"):
        reason = WINDOW if "max_model_len" in shortened else REASON
        yield Sighting(case.receiver.name, "prompts of kv_reuse_chunks chunks, 4 unless set", shortened, reason)
