# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation's site: where links of the tree lead in it, and that it builds where MkDocs is installed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import tree_links
import yaml

ROOT = Path(__file__).resolve().parents[2]
MKDOCS = ROOT / ".cache" / "docs-venv" / "bin" / "mkdocs"
PAGES = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))]


def nav(entries: list) -> list[str]:
    """Pages that a navigation lists."""
    found = []
    for entry in entries:
        (inner,) = entry.values()
        found += [inner] if isinstance(inner, str) else nav(inner)
    return found


def test_every_page_stands_in_the_navigation_or_in_the_index_of_findings():
    listed = nav(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    assert len(set(listed)) == len(listed)
    own = {tree_links.place(page) for page in PAGES if not re.match("docs/findings/[a-z]", page)}
    assert own <= set(listed)
    assert set(listed) - own <= set(tree_links.beside(PAGES))


def test_what_is_linked_beside_docs_has_a_page_whose_links_lead_on():
    pages = tree_links.beside(PAGES)
    assert {"tree/CONTRIBUTING.md", "tree/bench/README.md", "tree/examples/places/hosts.yml.md"} <= set(pages)
    served = {tree_links.place(page) for page in PAGES} | set(pages)
    files = {f"pictures/{path.name}" for path in (ROOT / "docs" / "pictures").iterdir()} | {
        path.name for path in (ROOT / "docs").glob("*.json")
    }
    for place, text in pages.items():
        for target, _ in tree_links.links(text):
            path = Path("/site", place).parent.joinpath(target).resolve() if target else Path("/site", place)
            assert path.relative_to("/site").as_posix() in served | files, f"{place}: {target}"


@pytest.mark.parametrize(
    ("page", "text", "expected"),
    [
        ("docs/fleet.md", "[b](../bench/README.md#runs)", "[b](tree/bench/README.md#runs)"),
        ("docs/findings/README.md", "[d](../diagnose.md)", "[d](../diagnose.md)"),
        ("docs/fleet.md", "[e](../examples)", "[e](tree/examples/README.md)"),
        ("docs/fleet.md", "[p](../examples/pods)", "[p](tree/examples/pods.md)"),
        ("docs/variables.md", "[s](#a) [h](https://x.example/#y)", "[s](#a) [h](https://x.example/#y)"),
        ("bench/README.md", "[f](fleet.py) [d](../docs/fleet.md)", "[f](fleet.py.md) [d](../../fleet.md)"),
        ("docs/fleet.md", "```\n[b](../bench/README.md)\n```\n", "```\n[b](../bench/README.md)\n```\n"),
    ],
)
def test_a_link_leads_to_the_page_of_its_file(page, text, expected):
    assert tree_links.on_site(page, text) == expected


def test_a_link_to_nothing_is_refused():
    for target in ("gone.md", "../../elsewhere"):
        with pytest.raises(FileNotFoundError, match="is not there"):
            tree_links.on_site("docs/fleet.md", f"[x]({target})")


def test_headings_have_the_anchors_of_code_hosts():
    text = "# A `kv_reuse_x`: [b](c.md), d – e\n```\n# no heading\n```\n## 終了コード\n"
    assert tree_links.anchors(text) == {"a-kv_reuse_x-b-d--e", "終了コード"}


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    if not MKDOCS.exists():
        pytest.skip("MkDocs is not installed: make docs")
    done = subprocess.run(
        [MKDOCS, "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "site" / "findings" / "p2p-disabled.html").is_file()
