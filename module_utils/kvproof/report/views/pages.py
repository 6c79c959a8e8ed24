# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""summary.md for a job's summary page, and what index.html (page.py) shares: Markdown's escapes, templates/."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .. import document
from ..language import say, spoken, told
from ..parts import Cluster, Pair, Verdict
from ..translated import translated
from . import changes, figures, remarks
from .console import MARKS

TEMPLATES = Path(__file__).parent / "templates"
Part = TypeVar("Part", Pair, Cluster)
_MARKDOWN = re.compile(r"([\\`*\[\]|~]|(?<!\w)_|_(?!\w))")  # an underscore within a word means nothing


def summary(doc: Verdict) -> str:
    doc = translated(doc)
    full, brief = document.chosen(doc)
    clusters, passing = document.chosen_clusters(doc)
    # A page is read from its top, so what failed comes first there.
    return (
        environment(autoescape=False)
        .get_template("summary.md.j2")
        .render(
            doc=doc,
            clusters=[*_worst_first(clusters), *([passing] if passing else [])],
            full=full,
            pairs=[(pair, True) for pair in _worst_first(full)] + [(pair, False) for pair in _worst_first(brief)],
            groups=document.groups(doc),
            remarks=remarks.lines(doc),
            since=changes.sentence(doc),
            changed=changes.told(doc, changes.IN_SUMMARY),
        )
    )


def _worst_first(parts: list[Part]) -> list[Part]:
    """Clusters or pairs by verdict, and those of one verdict in the order that they had."""
    return sorted(parts, key=lambda part: document.ORDER.index(part["verdict"]))


def markdown(text: object) -> str:
    """Text that Markdown and the HTML inside it leave as it is."""
    safe = str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN.sub(r"\\\1", safe)


@cache
def environment(autoescape: bool) -> Environment:
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters.update(md=markdown, ms=figures.milliseconds)
    made.globals.update(
        MARKS=MARKS,
        say=say,
        spoken=spoken,
        told=told,
        WORDS=document.WORDS,
        several=document.several,
        PLACES=document.PLACES,
        cluster_line=document.cluster_line,
        exit_meaning=document.exit_meaning,
        figures=figures.lines,
        pair_name=document.pair_name,
        reason=document.reason,
        where=document.where,
    )
    return made
