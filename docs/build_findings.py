# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages of docs/findings/, made of the findings and the faults that show them; docs/build.py writes them."""

from __future__ import annotations

from pathlib import Path

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from kvproof.diagnose.classes import CLASSES
from kvproof.judge.findings import all_findings
from kvproof.judge.link import NAMES

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "findings"
FAULTS = ROOT / "lab" / "faults"
SYMPTOMS = ROOT / "docs" / "templates" / "symptoms.yml"

ROLES = {
    "cause": "cause: the pair fails when reuse is absent in a way this explains; a warning when reuse was proven",
    "failure": "failure: the pair fails",
    "validity": "validity: nothing is proven, the pair is inconclusive",
    "note": "note: decides nothing",
}
TEXT_ALONE = "cause: named where the text proves it, or where what is set cannot work; else possible"


def pages() -> dict[str, str]:
    """Every page's text by its file name."""
    environment = Environment(
        loader=FileSystemLoader(ROOT / "docs" / "templates"),
        undefined=StrictUndefined,
        autoescape=False,  # Markdown, of our own text
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    names = {number: name for number, (name, _) in NAMES.items()}
    index = environment.get_template("findings.md.j2").render(
        findings=all_findings(),
        names=names,
        symptoms=symptoms(),
        titles={finding.slug: finding.title for finding in all_findings()},
    )
    found = {"README.md": index}
    shown = _faults_by_finding()
    for finding in all_findings():
        found[f"{finding.slug}.md"] = environment.get_template("finding.md.j2").render(
            finding=finding,
            link=names[finding.link],
            role=ROLES[finding.kind] if finding.look else TEXT_ALONE,
            class_meaning=CLASSES.get(finding.cause_class),
            faults=shown.get(finding.slug, []),
        )
    return found


def symptoms() -> dict[str, list[str]]:
    """Slugs of findings by what one sees of them."""
    return yaml.safe_load(SYMPTOMS.read_text(encoding="utf-8"))


def _faults_by_finding() -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for path in sorted(FAULTS.glob("*.yml")):
        fault = yaml.safe_load(path.read_text(encoding="utf-8"))
        for slug in {fault["expect"]["first"], *fault["expect"]["also"]} - {None}:
            found.setdefault(slug, []).append((f"make demo FAULT={path.stem}", fault["title"]))
    return found
