# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Finding, Sighting

FINDING = Finding(
    slug="prompt-shorter-than-chunk",
    link=6,
    kind="validity",
    rank=10,
    title="The prompt is shorter than a chunk",
    meaning=(
        "LMCache stores whole chunks only. A common prefix below chunk_size tokens can never be reused, on any cluster."
    ),
    evidence="Token ids sent, and the chunk size in force.",
    remedy="Raise kv_reuse_chunks, or set kv_reuse_chunk_size to the cluster's chunk_size.",
    source="LMCache 0.5.6",
    voids=True,
    covers=("reuse-absent", "experiment-incomplete", "not-announced", "nothing-stored"),
)


def look(case, attempts):
    refused, chunk = case.prompt.get("refused") or {}, case.chunk_size()
    if refused.get("slug") == "prompt-shorter-than-chunk":
        yield Sighting(
            case.receiver.name, "a common prefix of at least one chunk", str(refused.get("text")), "nothing was sent"
        )
    elif attempts and all(a.expected == 0 for a in attempts):
        yield Sighting(
            case.receiver.name,
            f"a common prefix of at least {chunk} tokens",
            f"{case.trials[0].get('prefix_tokens')} tokens",
            "the cluster's chunks are larger than the prompt",
        )
