# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..pasted import KEYS
from . import Attempt, Case, Finding, Sightings
from ._compare import differing_setting

FINDING = Finding(
    slug="chunk-size-differs",
    link=4,
    kind="cause",
    rank=32,
    title="The chunk sizes differ",
    meaning="KV is shared in chunks of chunk_size tokens. With another size the chunk keys never match.",
    evidence="chunk_size in the effective configuration or the YAML of both nodes.",
    remedy="Set the same chunk_size on every node, restart the engines.",
    source="LMCache 0.5.6",
    explains=frozenset(["missed", "timed-out", "slow"]),
    cause_class="KEY_MISMATCH",
    compares=KEYS,
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    yield from differing_setting(case, "chunk_size", "chunks of another size have other keys")
