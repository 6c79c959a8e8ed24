# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run's document with the sentences that people read in the language spoken (language/).

Names of hosts and findings, verdicts, values and what an operator or an engine wrote stay as they are.
"""

from __future__ import annotations

from ..plan.pair import SkippedPair
from .language import ENGLISH, spoken, told
from .parts import Cluster, Finding, Length, Link, Pair, Timing, Verdict


def translated(doc: Verdict) -> Verdict:
    """A copy, or the document itself where it is in that language already."""
    if spoken() == ENGLISH:
        return doc
    return {
        **doc,
        "clusters": [_cluster(cluster) for cluster in doc["clusters"]],
        "not_probed": [_skipped(pair) for pair in doc["not_probed"]],
        "problems": [told(text) for text in doc["problems"]],
        "notes": [told(text) for text in doc["notes"]],
    }


def _cluster(cluster: Cluster) -> Cluster:
    pairs, lost = (
        [translated_pair(pair) for pair in cluster["pairs"]],
        [_skipped(pair) for pair in cluster["not_judged"]],
    )
    return {**cluster, "pairs": pairs, "not_judged": lost}


def _skipped(pair: SkippedPair) -> SkippedPair:
    return {**pair, "reason": told(pair["reason"])}


def translated_pair(pair: Pair) -> Pair:
    """A copy of one pair's verdict, as of a whole document."""
    first = pair["first_broken"]
    fresh: Pair = {
        **pair,
        "first_broken": {**first, "name": told(first["name"])} if first else None,
        "links": [_link(link) for link in pair["links"]],
        "findings": [_finding(finding) for finding in pair["findings"]],
        "timing": _timing(pair["timing"]),
        "output": {**pair["output"], "text": told(pair["output"]["text"])},
        "check_errors": [told(text) for text in pair["check_errors"]],
    }
    if "router" in pair:
        fresh["router"] = {**pair["router"], "text": told(pair["router"]["text"])}
    return fresh


def _link(link: Link) -> Link:
    return {**link, "name": told(link["name"]), "text": told(link["text"])}


def _finding(finding: Finding) -> Finding:
    return {
        **finding,
        "title": told(finding["title"]),
        "expected": told(finding["expected"]),
        "observed": told(finding["observed"]),
        "reason": told(finding["reason"]),
        "remedy": told(finding["remedy"]),
    }


def _timing(timing: Timing) -> Timing:
    even = timing["break_even"]
    return {
        **timing,
        "lengths": [_length(length) for length in timing["lengths"]],
        "break_even": {**even, "text": told(even["text"])} if even else None,
    }


def _length(length: Length) -> Length:
    return {**length, "skipped": told(length["skipped"]) if length["skipped"] else None}
