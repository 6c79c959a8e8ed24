"""docs/ holds what docs/build.py writes, and every finding's link leads to its page."""

from __future__ import annotations

from pathlib import Path

import build
import build_findings
import pytest
from kvproof.judge.findings import all_findings
from kvproof.judge.verdict import doc_page

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def written() -> dict[str, str]:
    return build_findings.pages()


def test_what_is_generated_is_current():
    assert build.stale(build.generated()) == [], "run: make docs"


@pytest.mark.parametrize("finding", all_findings(), ids=lambda finding: finding.slug)
def test_a_finding_has_its_page_where_the_report_says(finding, written):
    text = written[Path(doc_page(finding)).name]
    assert (ROOT / doc_page(finding)).is_file()
    for part in (finding.title, finding.meaning, finding.evidence, finding.remedy, finding.source):
        assert part
        assert part in text
    assert "|" not in finding.evidence + finding.source, "a bar ends the cell of a table"
    assert f"[{finding.slug}]({finding.slug}.md)" in written["README.md"]


def test_every_finding_has_a_symptom():
    under = {slug for slugs in build_findings.symptoms().values() for slug in slugs}
    assert under == {finding.slug for finding in all_findings()}
