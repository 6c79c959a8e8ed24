# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import HINT, SETTING, Sign, Signature, matching

PATTERN = (
    r"ocal cpu memory (?:is )?under pressure|Failed to allocate memory (?:block|obj)|because no memory is available"
)


def look(material):
    # a PD decode node frees its buffer when it retrieves: where it never finds anything, the full buffer follows
    follows = material.misses and material.is_on("enable_pd")
    for role, line in matching(material, PATTERN):
        yield Sign(role, line, HINT if follows else SETTING)


SIGNATURE = Signature(
    slug="memory-pressure",
    cause_class="MEMORY",
    title="There was no memory to keep KV in",
    proves="LMCache could not allocate CPU memory for chunks and left them out; they cannot be found later.",
    cannot="Whether the prompt that was missed is one of those.",
    remedy=(
        "Raise max_local_cpu_size (or pd_buffer_size), or lower the number of prompts in flight; see whether "
        "pinned objects are ever released."
    ),
    source="LMCache 0.5.6 cache_engine.py:520, memory_management.py:1453",
    look=look,
)
