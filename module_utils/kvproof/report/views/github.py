# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What GitHub's runners show beside a job: its workflow commands, a line for each pair that the run did not prove.

An error is what fails the run; a warning what it was told to accept.  The job's own summary is summary.md.
"""

from __future__ import annotations

from ...judge.verdict import PASS
from .. import document
from ..parts import Verdict

MOST = 50  # GitHub shows ten of a kind for each step, and the summary has all


def commands(doc: Verdict) -> list[str]:
    """Lines for the standard output.  Texts have to be harmless already (clean.cleaned)."""
    pairs = [pair for pair in document.all_pairs(doc) if pair["verdict"] != PASS]
    lines = []
    for pair in sorted(pairs, key=lambda pair: not document.pair_fails(pair, doc["inconclusive"])):
        level = "error" if document.pair_fails(pair, doc["inconclusive"]) else "warning"
        advice = [found["remedy"] for found in document.decisive(pair)[:1]]
        lines.append(_command(level, document.headline(pair), advice))
    missing = [missing for cluster in doc["clusters"] for missing in cluster["not_judged"]]
    lines += [_command("error", f"{document.pair_name(pair)} was not judged", [pair["reason"]]) for pair in missing]
    if doc["verdict"] != PASS and not lines:
        lines.append(_command("error", "No pair was judged", [*doc["problems"][:1]]))
    return lines[:MOST]


def _command(level: str, title: str, texts: list[str]) -> str:
    return f"::{level} title={_property(f'KV reuse: {title}')}::{_data(' '.join(map(str, texts)) or title)}"


def _data(text: str) -> str:
    """As GitHub's runner reads a command's text."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
