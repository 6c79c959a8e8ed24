# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is good to know beside the verdict, a sentence each, the same in every view."""

from __future__ import annotations

from .. import document
from ..language import say
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
    sentences += [
        say(
            "not probed: {cluster}: {pair}: {reason}",
            cluster=p["cluster"],
            pair=document.pair_name(p),
            reason=p["reason"],
        )
        for p in left[:SKIPPED]
    ]
    if len(left) > SKIPPED:
        sentences.append(say("not probed: {count} more pairs, see verdict.json", count=len(left) - SKIPPED))
    sentences += doc["notes"]
    observed = {place.observed for group in groups for place in group.places}
    for pair in document.all_pairs(doc):
        sentences += [
            say("about the evidence of {pair}: {error}", pair=document.pair_name(pair), error=error)
            for error in pair["check_errors"]
            if error not in observed
        ]
    if any(figures.has_counters(pair) for pair in document.all_pairs(doc)):
        sentences.append(say(figures.COUNTERS_NOTE))
    return list(dict.fromkeys(sentences))


def note(group: document.Group) -> str:
    slug, hosts = group.entry["slug"], document.several(group.hosts)
    return say("{finding} on {hosts}: {brief}", finding=slug, hosts=hosts, brief=group.brief)
