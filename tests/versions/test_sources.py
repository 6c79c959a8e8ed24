# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The version table's record is what the releases' sources say (make versions; they are downloaded once)."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from kvproof.probe.metrics import WANTED
from kvproof.stack import lines, mp
from kvproof.stack.versions import TABLE

sys.path.append(str(Path(__file__).parent))
import sources


@pytest.mark.slow
@pytest.mark.network
def test_the_record_is_what_the_sources_of_the_releases_say():
    try:
        fresh = sources.read()
    except sources.Offline as reason:
        pytest.skip(f"a release cannot be downloaded: {reason}")
    assert fresh == json.loads(sources.RECORD.read_text("utf-8"))


@pytest.mark.network
def test_the_table_has_every_kind_of_line_and_every_series_that_is_read():
    names = {name.partition("=")[0] for row in TABLE for name in row.names.split()}
    kinds = {pattern.kind for pattern in lines.LMCACHE + lines.OTHERS} - {"bind_failed"}  # the operating system's
    series = {re.sub(r"_(total|sum|count)$", "", name) if name not in names else name for name in (*WANTED, *mp.SERIES)}
    assert kinds | (series - {"process_start_time_seconds"}) <= names, "that one is Prometheus' client's"
