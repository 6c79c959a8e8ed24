#!/usr/bin/env python3
# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes docs/findings.md from the findings themselves: ``python docs/build_findings.py``."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "findings.md"
sys.path.insert(0, str(ROOT / "module_utils"))

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from kvproof import chain
from kvproof.findings import all_findings

ROLES = {
    "cause": "cause: the pair fails when reuse is absent in a way this explains; a warning when reuse was proven",
    "failure": "failure: the pair fails",
    "validity": "validity: nothing is proven, the pair is inconclusive",
    "note": "note: decides nothing",
}


def text() -> str:
    """The whole page."""
    links = [
        {"number": number, "name": name, "findings": [f for f in all_findings() if f.link == number]}
        for number, (name, _) in chain.NAMES.items()
    ]
    environment = Environment(
        loader=FileSystemLoader(PAGE.parent),
        undefined=StrictUndefined,
        autoescape=False,  # Markdown, of our own text
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    template = environment.get_template("findings.md.j2")
    return template.render(links=[link for link in links if link["findings"]], roles=ROLES)


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
