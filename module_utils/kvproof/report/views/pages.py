# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""summary.md for a job's summary page, and index.html, self-contained.  Templates lie in templates/."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .. import document
from ..parts import Verdict
from . import figures, remarks
from .console import MARKS

TEMPLATES = Path(__file__).parent / "templates"
_MARKDOWN = re.compile(r"([\\`*\[\]|~]|(?<!\w)_|_(?!\w))")  # an underscore within a word means nothing


def summary(doc: Verdict) -> str:
    return _render("summary.md.j2", doc, autoescape=False)


def html(doc: Verdict) -> str:
    return _render("index.html.j2", doc, autoescape=True)


def markdown(text: object) -> str:
    """Text that Markdown and the HTML inside it leave as it is."""
    safe = str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN.sub(r"\\\1", safe)


def _render(name: str, doc: Verdict, autoescape: bool) -> str:
    full, brief = document.chosen(doc)
    clusters, passing = document.chosen_clusters(doc)
    template = _environment(autoescape).get_template(name)
    # A page is read from its top, so what failed comes first there.
    return template.render(
        doc=doc,
        clusters=[*reversed(clusters), *([passing] if passing else [])],
        full=full[::-1],
        pairs=[(pair, True) for pair in reversed(full)] + [(pair, False) for pair in reversed(brief)],
        groups=document.groups(doc),
        remarks=remarks.lines(doc),
    )


@cache
def _environment(autoescape: bool) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(md=markdown, ms=figures.milliseconds)
    environment.globals.update(
        MARKS=MARKS,
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
    return environment
