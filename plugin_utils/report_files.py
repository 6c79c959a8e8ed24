# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""verdict.json files that an operator names: by folder, file or pattern."""

from __future__ import annotations

import glob
from pathlib import Path

from kvproof.report import files, views
from kvproof.report.merge import Source


def paths(word: str) -> list[Path]:
    """The files that a path, a folder or a pattern means; a pattern that fits nothing is returned unchanged."""
    found = [Path(path) for path in sorted(glob.glob(str(Path(word).expanduser()), recursive=True))] or [Path(word)]
    return [path / views.VERDICT if path.is_dir() else path for path in found]


def read(path: Path, option: str) -> Source:
    """A report, or why there is none.  option: which the operator named it in."""
    value, why = files.read_json(path)
    return Source(str(path), value, why and f"{why}: correct {option}=, or leave it out")
