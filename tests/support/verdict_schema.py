# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documents held to docs/verdict.schema.json."""

from __future__ import annotations

import json
from pathlib import Path

from jsonschema import Draft202012Validator, FormatChecker

ROOT = Path(__file__).resolve().parents[2]

SCHEMA = json.loads((ROOT / "docs" / "verdict.schema.json").read_text())


def errors(doc: dict) -> list[str]:
    checker = Draft202012Validator(SCHEMA, format_checker=FormatChecker())
    return [f"{error.json_path}: {error.message}" for error in checker.iter_errors(json.loads(json.dumps(doc)))]
