# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Doubts about a transfer of LMCache's that are certain, as findings show them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...stack import disagg
from . import MISSES, Case, Sighting

#: With nothing sent, too: the engines cannot share KV so, whoever asks them.
EXPLAINS = MISSES | {"withheld"}
COVERS = ("requests-withheld", "reuse-absent", "experiment-incomplete", "controls-unread", "outcome-unread")


def sightings(case: Case, kinds: Iterable[str], reason: str) -> Iterator[Sighting]:
    """Of doubts of these kinds; the first of each engine."""
    names = case.holder.name, case.receiver.name
    seen = set()
    for doubt in disagg.doubts(case.holder.node, case.receiver.node, names):
        if doubt.kind in kinds and doubt.certain and doubt.name not in seen:
            seen.add(doubt.name)
            yield Sighting(doubt.name, doubt.expected, doubt.observed, reason)
