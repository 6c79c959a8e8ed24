# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The changelog as Ansible's own tools read it, made of CHANGELOG.md: changelogs/changelog.yaml of the archive.

What a release changed stands in one place, in Markdown; antsibull-changelog wants it sorted into sections and in
reStructuredText.  A release's first section here is what it brings (major), all others are smaller (minor).
"""

from __future__ import annotations

import re
from typing import Any

import yaml

_RELEASE = re.compile(r"^## (\d+\.\d+\.\d+) \((\d{4}-\d{2}-\d{2})\)$", re.MULTILINE)
_LINK = re.compile(r"\[([^]]+)\]\(([^)]+)\)")


def changelog(text: str) -> str:
    """changelog.yaml of a CHANGELOG.md; what is unreleased is left out."""
    releases = {}
    parts = _RELEASE.split(text)[1:]
    for version, date, body in zip(parts[::3], parts[1::3], parts[2::3]):
        releases[version] = {"changes": _changes(body), "release_date": date}
    return yaml.safe_dump({"ancestor": None, "releases": releases}, sort_keys=True, width=120)


def _changes(body: str) -> dict[str, Any]:
    summary, *sections = re.split(r"^### (.+)$", body, flags=re.MULTILINE)
    found: dict[str, Any] = {}
    if said := _one_line(summary.partition("\n- ")[0]):
        found["release_summary"] = said
    plain = _items(summary)
    named = [(title, item) for title, text in zip(sections[::2], sections[1::2]) for item in _items(text)]
    first = sections[0] if sections else None
    found["major_changes"] = [f"{title} - {item}" for title, item in named if title == first]
    found["minor_changes"] = plain + [f"{title} - {item}" for title, item in named if title != first]
    return {section: entries for section, entries in found.items() if entries}


def _items(text: str) -> list[str]:
    return [_one_line(item) for item in re.split(r"^- ", text, flags=re.MULTILINE)[1:]]


def _one_line(text: str) -> str:
    """Markdown's paragraph as a line of reStructuredText."""
    line = " ".join(text.split())
    return _LINK.sub(r"\1 (\2)", line).replace("`", "``")
