"""docs/findings/ is what docs/build_findings.py writes, and every finding's link leads there."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from kvproof.judge.findings import all_findings
from kvproof.judge.verdict import doc_page

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def written() -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("build_findings", ROOT / "docs" / "build_findings.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.pages()


def test_the_pages_are_up_to_date(written):
    found = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "findings").glob("*.md")}
    assert found == written, "run: python docs/build_findings.py"


@pytest.mark.parametrize("finding", all_findings(), ids=lambda finding: finding.slug)
def test_a_finding_has_its_page_where_the_report_says(finding, written):
    text = written[Path(doc_page(finding)).name]
    assert (ROOT / doc_page(finding)).is_file()
    for part in (finding.title, finding.meaning, finding.evidence, finding.remedy, finding.source):
        assert part
        assert part in text
    assert "|" not in finding.evidence + finding.source, "a bar ends the cell of a table"
    assert f"[{finding.slug}]({finding.slug}.md)" in written["README.md"]
