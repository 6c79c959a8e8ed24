# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..pasted import KEYS
from . import Attempt, Case, Finding, Sightings
from ._compare import differing_setting

FINDING = Finding(
    slug="hash-algorithm-differs",
    link=4,
    kind="cause",
    rank=31,
    title="The nodes hash tokens with different algorithms",
    meaning="The same tokens get other chunk keys on the two nodes, and no chunk is ever found.",
    evidence="pre_caching_hash_algorithm in the effective configuration or the YAML of both nodes.",
    remedy="Set the same pre_caching_hash_algorithm on every node, restart the engines.",
    source="LMCache 0.5.6 token_database.py",
    explains=frozenset(["missed", "timed-out", "slow"]),
    cause_class="KEY_MISMATCH",
    compares=KEYS,
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    yield from differing_setting(case, "pre_caching_hash_algorithm", "the same tokens get other keys on the two nodes")
