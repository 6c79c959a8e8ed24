# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The version table's record is what the releases' sources say (make versions; they are downloaded once)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

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
