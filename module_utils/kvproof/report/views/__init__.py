# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Views of a run's document, each a pure function of it.  ``files()`` gives all that belong into reports/.

To add a file to reports/: a module here with a function from Verdict (report/parts.py) to text, and its line in VIEWS;
what reads or shows the names follows.  The other modules are no such files: console (lines for a terminal), diagnosis
(the same of a diagnosis, and its page), figures, remarks and changes (sentences that several views share), clean (makes
foreign text harmless), github (lines for its runners), drawings (what the page draws), wrap (lines of a width).
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from ..parts import Verdict
from . import junit, page, pages, prometheus
from .clean import cleaned

VERDICT = "verdict.json"
VIEWS = {
    "junit.xml": junit.render,
    "summary.md": pages.summary,
    "index.html": page.render,
    "kv_reuse.prom": prometheus.render,
}
NAMES = (VERDICT, *VIEWS)


def verdict(doc: Verdict) -> str:
    """The text of verdict.json."""
    return json.dumps(doc, indent=2) + "\n"


def files(doc: Verdict) -> Iterator[tuple[str, str | None, str | None]]:
    """(name, text, why there is none) of every file, the document itself first.

    Texts that came from engines and hosts are made harmless in the views; verdict.json has them as they were,
    escaped by JSON to ASCII.  A view that cannot be made yields its error and does not stop
    the others.
    """
    yield VERDICT, verdict(doc), None
    harmless = cleaned(doc)
    for name, render in VIEWS.items():
        try:
            yield name, render(harmless), None
        except Exception as error:  # a report with one view missing is worth more than none
            yield name, None, f"{type(error).__name__}: {error}"
