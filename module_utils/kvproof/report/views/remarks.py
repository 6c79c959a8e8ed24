# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is good to know beside the verdict, a sentence each, the same in every view."""

from __future__ import annotations

from .. import document
from ..parts import Verdict
from . import figures

SKIPPED = 8  # pairs that were not asked for are named up to here


def lines(doc: Verdict, skipped: bool = True) -> list[str]:
    """Notes over all hosts, remarks on the evidence, and what the counters can prove.

    skipped: with the pairs that were not probed, for a view that has no place of its own for them.
    """
    groups = document.groups(doc)
    left = doc["not_probed"] if skipped else []
    sentences = [note(group) for group in groups if group.kind == "note"]
    sentences += [f"not probed: {p['cluster']}: {document.pair_name(p)}: {p['reason']}" for p in left[:SKIPPED]]
    if len(left) > SKIPPED:
        sentences.append(f"not probed: {len(left) - SKIPPED} more pairs, see verdict.json")
    sentences += doc["notes"]
    observed = {place.observed for group in groups for place in group.places}
    for pair in document.all_pairs(doc):
        sentences += [
            f"about the evidence of {document.pair_name(pair)}: {error}"
            for error in pair["check_errors"]
            if error not in observed
        ]
    if any(figures.has_counters(pair) for pair in document.all_pairs(doc)):
        sentences.append(figures.COUNTERS_NOTE)
    return list(dict.fromkeys(sentences))


def note(group: document.Group) -> str:
    return f"{group.entry['slug']} on {document.several(group.hosts)}: {group.brief}"
