# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re

from ...stack.settings import DEFAULTS
from ..pasted import HINT, SETTING, Sign, number
from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="prompt-shorter-than-chunk",
    link=6,
    kind="validity",
    rank=10,
    title="The prompt is shorter than a chunk",
    meaning=(
        "LMCache stores whole chunks only, unless save_unfull_chunk is on. A common prefix below chunk_size tokens "
        "can never be reused."
    ),
    evidence="Token ids sent, and the chunk size in force.",
    remedy="Raise kv_reuse_chunks, or set kv_reuse_chunk_size to the cluster's chunk_size.",
    source="LMCache 0.5.6 token_database.py; LMCache#4094, LMCache#4109",
    voids=True,
    covers=("reuse-absent", "experiment-incomplete", "not-announced", "nothing-stored"),
    cause_class="CHUNK",
    cannot="Whether longer prompts would be reused.",
)

CHUNK_SIZE = DEFAULTS["chunk_size"]
# a prompt's length where somebody tells it
PROMPT = re.compile(r"\bprompt\b[^.\n]{0,24}?\b(\d+)[ -]tokens?\b(?!/)|\b(\d+)[ -]tokens? prompt\b", re.I)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
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


def pasted(material):
    chunk = number(material.value("chunk_size"))
    looked_up = [lookup.total for lookup in material.lookups if lookup.total is not None]
    lengths = looked_up or [int(match[1] or match[2]) for match in PROMPT.finditer(material.text)]
    if not lengths or any(lookup.hit for lookup in material.lookups) or material.is_on("save_unfull_chunk"):
        return
    if max(lengths) < (chunk or CHUNK_SIZE):
        text = f"prompts of at most {max(lengths)} tokens, chunk_size {chunk or f'(not told; {CHUNK_SIZE} if not set)'}"
        # up to 0.3.10 save_unfull_chunk was on by default
        whole_only = material.is_off("save_unfull_chunk") or material.version_within("lmcache", (0, 3, 11), (99,))
        strength = SETTING if chunk and whole_only else HINT
        yield Sign(material.nodes[0].role, text, strength, remedy="Test with a prompt of several chunks.")
