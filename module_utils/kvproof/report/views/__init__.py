# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Views of a run's document, each a pure function of it.  ``files()`` gives all that belong into reports/.

To add a file to reports/: a module here with a function from Verdict (report/parts.py) to text, and its line in VIEWS,
or in FORMATS where it is written on request (kv_reuse_formats); what reads or shows the names follows.  The other
modules are no such files: console (lines for a terminal), diagnosis (the same of a diagnosis, and its page), figures,
remarks and changes (sentences that several views share), issues (findings one by one, for FORMATS), clean (makes
foreign text harmless), github (lines for its runners), drawings (what the page draws), wrap (lines of a width).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import get_args

from ..language import ENGLISH, Language, speaking
from ..parts import Format, Verdict
from . import codequality, junit, page, pages, prometheus, sarif, trace
from .clean import cleaned

VERDICT = "verdict.json"
VIEWS = {
    "junit.xml": junit.render,
    "summary.md": pages.summary,
    "index.html": page.render,
    "kv_reuse.prom": prometheus.render,
}
#: What is written on request alone.
FORMATS: dict[Format, tuple[str, Callable[[Verdict], str]]] = {
    "codequality": ("gl-code-quality-report.json", codequality.render),
    "sarif": ("kv_reuse.sarif", sarif.render),
    "trace": ("kv_reuse.otlp.json", trace.render),
}
NAMES = (VERDICT, *VIEWS)
READ_BY_PEOPLE = ("summary.md", "index.html")  # the others are for programs, and in English


def verdict(doc: Verdict) -> str:
    """The text of verdict.json."""
    return json.dumps(doc, indent=2) + "\n"


def asked(formats: Collection[str], environ: Mapping[str, str]) -> list[Format]:
    """The formats that are written: those of the operator, and what the runner that this is a job of shows."""
    detected = {"codequality"} if environ.get("GITLAB_CI") == "true" else set()
    return [name for name in get_args(Format) if name in detected or name in formats]


def not_asked(formats: Collection[str]) -> list[str]:
    """The files of the other formats."""
    return [file for name, (file, _render) in FORMATS.items() if name not in formats]


def files(
    doc: Verdict, formats: Collection[Format] = (), language: Language = ENGLISH
) -> Iterator[tuple[str, str | None, str | None]]:
    """(name, text, why there is none) of every file, the document itself first.

    Texts that came from engines and hosts are made harmless in the views; verdict.json has them as they were,
    escaped by JSON to ASCII.  A view that cannot be made yields its error and does not stop
    the others.
    """
    yield VERDICT, verdict(doc), None
    harmless = cleaned(doc)
    for name, render in [*VIEWS.items(), *(FORMATS[name] for name in formats)]:
        try:
            with speaking(language if name in READ_BY_PEOPLE else ENGLISH):
                text = render(harmless)
            yield name, text, None
        except Exception as error:  # a report with one view missing is worth more than none
            yield name, None, f"{type(error).__name__}: {error}"
