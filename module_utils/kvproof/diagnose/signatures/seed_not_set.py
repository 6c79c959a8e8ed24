# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..read import UNSET
from . import HINT, SETTING, Sign, Signature, matching

SHARED = r"(?:P/D Disaggregation|Centralized cache sharing) detected\s+but PYTHONHASHSEED not set"
RANDOM = r"builtin hash without PYTHONHASHSEED set|random per-process NONE_HASH seed|PYTHONHASHSEED is not set"


def look(material):
    algorithm = material.values("pre_caching_hash_algorithm")
    # from 0.29 on vLLM seeds the cryptographic hashes alike in every process
    seeded = bool(algorithm) and algorithm != ["builtin"] and material.version_within("vllm", (0,), (0, 29)) is not True
    if material.peers_found or any(lookup.hit for lookup in material.lookups):
        return
    if material.env("PYTHONHASHSEED") not in (None, UNSET):
        return
    for role, line in matching(material, SHARED):
        yield Sign(role, line, HINT if seeded else SETTING)
        return
    for role, line in matching(material, RANDOM):
        yield Sign(role, line, SETTING if material.is_shared and material.misses and not seeded else HINT)
    if material.env("PYTHONHASHSEED") == UNSET:
        old = bool(algorithm) and material.version_within("lmcache", (0,), (0, 4)) is True
        sure = material.is_shared and (not algorithm or not seeded or old)
        role = next(one.role for one in material.told if UNSET in one.stated.env.get("PYTHONHASHSEED", []))
        yield Sign(role, "PYTHONHASHSEED is not set", SETTING if sure else HINT)


SIGNATURE = Signature(
    slug="seed-not-set",
    cause_class="HASH_SEED",
    title="PYTHONHASHSEED is not set, so every process makes other keys",
    proves="Chunk keys begin with a value that is random in each process. What one process stores, no other finds.",
    cannot="Whether there is a second cause; it would show only after this one is removed.",
    remedy="Start every engine, and the controller, with the same PYTHONHASHSEED, for example 0.",
    source="LMCache 0.5.6 token_database.py:169 and 311, vLLM 0.32 kv_cache_utils.py:130",
    look=look,
)
