# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes what docs/ holds of the code (``make docs``); ``--check`` only fails where a file is outdated."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS), str(DOCS.parent / "module_utils")]

import build_findings
import build_languages
import build_variables
import build_versions
from kvproof.evidence import document
from kvproof.report import parts


def generated() -> dict[Path, str]:
    """Every generated file's text by its path."""
    pages = {build_findings.PAGES / name: text for name, text in build_findings.pages().items()}
    schemas = {"evidence": document.schema(), "verdict": parts.schema()}
    pages[DOCS / "versions.md"] = build_versions.page()
    pages[DOCS / "variables.md"] = build_variables.page()
    pages |= build_languages.catalogues()
    return {**pages, **{DOCS / f"{name}.schema.json": _json(schema) for name, schema in schemas.items()}}


def _json(schema: dict) -> str:
    """JSON with a line for each part; lists of words stand in one."""
    return (
        re.sub(r"\[\s+([^][{}]+?)\s+\]", lambda words: f"[{' '.join(words[1].split())}]", json.dumps(schema, indent=1))
        + "\n"
    )


def stale(files: dict[Path, str]) -> list[Path]:
    """Generated files that are missing, differ, or belong to a finding that is no more."""
    gone = sorted(set(build_findings.PAGES.glob("*.md")) - set(files))
    return gone + [path for path, text in files.items() if not path.exists() or path.read_text("utf-8") != text]


def main(check: bool) -> str | None:
    """Writes, or names what is stale; the exit status as ``sys.exit`` takes it."""
    files = generated()
    outdated = stale(files)
    if check:
        return "\n".join(["Run `make docs`; outdated:", *map(str, outdated)]) if outdated else None
    for path in outdated:
        if path in files:
            path.parent.mkdir(exist_ok=True)
            path.write_text(files[path], encoding="utf-8")
        else:
            path.unlink()
    return None


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
