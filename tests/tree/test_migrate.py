# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/migrate.md against the settings, options and defaults that were read in LMCache's sources."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from kvproof.stack.settings import DEFAULTS, ENV_NAMES
from kvproof.stack.versions import TABLE

ROOT = Path(__file__).parents[2]
READ = json.loads((ROOT / "tests" / "versions" / "read.json").read_text("utf-8"))["defaults"]
OPTIONS = {name for row in TABLE if row.what == "option" for name in row.names.split()}
CELL = r"(?:`([^`]*)`|–)"
ROWS = re.findall(rf"^\| {CELL} \| {CELL} \| {CELL} \| {CELL} \|", (ROOT / "docs/migrate.md").read_text("utf-8"), re.M)


def written(value: object) -> str:
    """A default as the page has it: YAML's words for booleans, nothing for none."""
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


@pytest.mark.parametrize(
    ("name", "default"), [pair for before, old, after, new in ROWS for pair in ((before, old), (after, new)) if pair[0]]
)
def test_names_and_defaults_are_those_of_the_newest_release(name, default):
    assert name in OPTIONS | ENV_NAMES | set(READ)
    if name in READ:
        assert default == written(READ[name][-1])


def test_every_setting_that_kvproof_goes_by_has_a_row():
    assert len(ROWS) > 20
    assert set(DEFAULTS) - {"enable_pd"} <= {before for before, *_ in ROWS}
