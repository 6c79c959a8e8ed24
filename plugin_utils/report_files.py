# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""verdict.json files that an operator names: by folder, file or pattern."""

from __future__ import annotations

import glob
import json
import stat
from pathlib import Path

from kvproof.report import views
from kvproof.report.merge import Source

MOST_BYTES = 64 << 20  # of one report; that of a thousand pairs has a third of it


def paths(word: str) -> list[Path]:
    """The files that a path, a folder or a pattern means; a pattern that fits nothing is returned unchanged."""
    found = [Path(path) for path in sorted(glob.glob(str(Path(word).expanduser()), recursive=True))] or [Path(word)]
    return [path / views.VERDICT if path.is_dir() else path for path in found]


def read(path: Path, option: str) -> Source:
    """A report, or why there is none.  option: which the operator named it in."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return Source(str(path), trouble=f"it is no file: correct {option}=")
        if status.st_size > MOST_BYTES:
            return Source(
                str(path), trouble=f"it has more than {MOST_BYTES >> 20} MB, which no run writes: leave it out"
            )
        return Source(str(path), json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        return Source(str(path), trouble=f"it cannot be read ({error.strerror}): correct {option}=")
    except (ValueError, RecursionError):
        return Source(str(path), trouble="this is no JSON: leave it out, or name the right file")
