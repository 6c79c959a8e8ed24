"""docs/findings.md is what docs/build_findings.py writes, and every finding's link leads there."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from kvproof.findings import all_findings

DOCS = Path(__file__).resolve().parents[2] / "docs"


def built() -> str:
    spec = importlib.util.spec_from_file_location("build_findings", DOCS / "build_findings.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.text()


def test_the_page_is_up_to_date():
    assert (DOCS / "findings.md").read_text(encoding="utf-8") == built(), "run: python docs/build_findings.py"


def test_every_slug_has_one_anchor_and_all_that_it_needs():
    page = built()
    sections = dict(re.findall(r"^### (\S+)\n(.*?)(?=^##|\Z)", page, re.M | re.S))
    assert sorted(sections) == sorted(finding.slug for finding in all_findings())
    for text in sections.values():
        assert [line.split(":")[0] for line in text.splitlines() if line.startswith("- ")][:3] == [
            "- Evidence",
            "- Do",
            "- Role",
        ]
        assert "- Source: " in text
