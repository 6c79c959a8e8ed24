# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes docs/evidence.schema.json from the shapes in module_utils/kvproof/evidence/document.py."""

from __future__ import annotations

import json
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent / "module_utils"))

from kvproof.evidence import document as evidence


def text() -> str:
    return json.dumps(evidence.schema(), indent=1) + "\n"


if __name__ == "__main__":
    (DOCS / "evidence.schema.json").write_text(text(), encoding="utf-8")
