# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Relative links of the tree's pages: where they stand, where they lead, and where that is in the documentation's site.

A page links as it does on a code host, by files of the tree.  The site has docs/ at its root, and what is linked beside
it below ``tree/``: pages as they are, other files and folders as pages that show them.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "docs"
#: suffixes of what docs/ holds for its pages; other files there are shown like those elsewhere
SERVED = {".md", ".png", ".svg", ".json"}

_LINK = re.compile(r"(\]\()([^)#:\s]*)(#[^)\s]*)?(?=\))")
_FENCE = re.compile(r"^ *(```|~~~)")
_HEADING = re.compile(r"^#{1,6} +(.+?)\s*$")


def links(text: str) -> list[tuple[str, str]]:
    """Target ("" for the page itself) and anchor (without #) of every relative link outside of code blocks."""
    found: list[tuple[str, str]] = []

    def note(target: str, anchor: str) -> str:
        found.append((target, anchor))
        return target

    mapped(text, note)
    return found


def mapped(text: str, change: Callable[[str, str], str]) -> str:
    """The text with every relative link's target replaced by ``change(target, anchor)``."""

    def replace(match: re.Match) -> str:
        anchor = match[3] or ""
        return match[1] + (change(match[2], anchor[1:]) if match[2] or anchor else "") + anchor

    return "".join(line if code else _LINK.sub(replace, line) for line, code in _lines(text))


def anchors(text: str) -> set[str]:
    """What the headings of a page can be linked by, as GitHub and the site make it of their text."""
    names: set[str] = set()
    for line, code in _lines(text):
        heading = None if code else _HEADING.match(line)
        if heading:
            words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading[1])
            names.add(re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-"))
    return names


def file_of(page: str, target: str) -> str:
    """Path in the tree that a link of a page means; a folder with a README means that.

    Raises FileNotFoundError where nothing is there, or it lies outside of the tree.
    """
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), target)) if target else page
    if path.startswith("../") or not (ROOT / path).exists():
        raise FileNotFoundError(f"{page} links to {target}, which is not there")
    return f"{path}/README.md" if (ROOT / path / "README.md").is_file() else path


def place(path: str) -> str:
    """Where a file or folder of the tree stands in the site: ``bench/x.py`` is shown by its page tree/bench/x.py.md."""
    kept = Path(path).suffix in SERVED
    if path.startswith("docs/") and kept:
        return path[len("docs/") :]
    return f"tree/{path}" if path.endswith(".md") else f"tree/{path}.md"


def on_site(page: str, text: str) -> str:
    """A page's text with its links as the site has them."""

    def change(target: str, anchor: str) -> str:
        return posixpath.relpath(place(file_of(page, target)), posixpath.dirname(place(page)) or ".") if target else ""

    return mapped(text, change)


def beside(pages: list[str]) -> dict[str, str]:
    """Text, by its place in the site, of what these pages, and those they lead to, link to beside what docs/ serves.

    pages: paths in the tree.  Raises FileNotFoundError where a link leads to nothing.
    """
    texts: dict[str, str] = {}
    seen = set(pages)
    waiting = list(pages)
    while waiting:
        page = waiting.pop()
        text = (ROOT / page).read_text(encoding="utf-8")
        if place(page).startswith("tree/"):
            texts[place(page)] = on_site(page, text)
        targets = {file_of(page, target) for target, _ in links(text) if target} - seen
        seen |= targets
        for path in targets:
            if path.endswith(".md"):
                waiting.append(path)
            elif place(path).startswith("tree/"):
                texts[place(path)] = _shown(path)
    return dict(sorted(texts.items()))


def _shown(path: str) -> str:
    """A page with a file's text, or with those of a folder's files; searches leave it out."""
    root = ROOT / path
    files = [root] if root.is_file() else sorted(one for one in root.rglob("*") if one.is_file() and _kept(one))
    parts = [f"---\nsearch:\n  exclude: true\n---\n\n# {path}\n"]
    for file in files:
        if file != root:
            parts.append(f"## {file.relative_to(root).as_posix()}\n")
        language = {".py": "python", ".yml": "yaml", ".json": "json"}.get(file.suffix, "text")
        parts.append(f"~~~~{language}\n{file.read_text(encoding='utf-8')}\n~~~~\n")
    return "\n".join(parts)


def _kept(path: Path) -> bool:
    return not any(part.startswith((".", "__")) for part in path.relative_to(ROOT).parts)


def _lines(text: str) -> Iterator[tuple[str, bool]]:
    """Every line, with its end, and whether it belongs to a block of code."""
    fence = ""
    for line in text.splitlines(keepends=True):
        mark = _FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
            yield line, True
        elif mark and mark[1] == fence:
            fence = ""
            yield line, True
        else:
            yield line, bool(fence)
