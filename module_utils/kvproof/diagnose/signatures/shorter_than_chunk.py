# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re

from ..read import number
from . import HINT, SETTING, Sign, Signature

PROMPT = re.compile(r"\bprompt\b[^.\n]{0,24}?\b(\d+)[ -]tokens?\b(?!/)|\b(\d+)[ -]tokens? prompt\b", re.I)


def look(material):
    chunk = number(material.value("chunk_size"))
    sizes = [one.total for one in material.lookups if one.total is not None]
    told = [int(found[1] or found[2]) for found in PROMPT.finditer(material.text)]
    lengths = sizes or told
    if not lengths or any(one.hit for one in material.lookups) or material.is_on("save_unfull_chunk"):
        return
    if max(lengths) < (chunk or 256):
        text = f"prompts of at most {max(lengths)} tokens, chunk_size {chunk or '(not told; 256 if not set)'}"
        # up to 0.3.10 save_unfull_chunk was on by default
        whole_only = material.is_off("save_unfull_chunk") or material.version_within("lmcache", (0, 3, 11), (99,))
        yield Sign(material.told[0].role, text, SETTING if chunk and whole_only else HINT)


SIGNATURE = Signature(
    slug="shorter-than-chunk",
    cause_class="CHUNK",
    title="The prompts are shorter than a chunk",
    proves=(
        "LMCache stores and finds whole chunks. A prompt below chunk_size is never stored (save_unfull_chunk is off)."
    ),
    cannot="Whether longer prompts would be reused.",
    remedy="Test with a prompt of several chunks.",
    source="LMCache 0.5.6 token_database.py; LMCache#4094, LMCache#4109",
    look=look,
)
