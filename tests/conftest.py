"""Puts the core on the path, as the plugins do when the tree runs in place, and finds the recordings."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTS / "support"), str(TESTS.parent)]

import recordings as recording  # puts module_utils on the path, too


@pytest.fixture(scope="session")
def recordings() -> Path:
    """Folder with the recordings of a real cluster (KVPROOF_RECORDINGS, else beside the checkout)."""
    if not recording.RECORDINGS.is_dir():
        pytest.skip(f"no recordings at {recording.RECORDINGS}; set KVPROOF_RECORDINGS")
    return recording.RECORDINGS
