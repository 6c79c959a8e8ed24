"""Puts the core on the path, as the plugins do when the tree runs in place, and finds the recordings."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "module_utils"))


@pytest.fixture(scope="session")
def recordings() -> Path:
    """Folder with the recordings of a real cluster (KVPROOF_RECORDINGS, else beside the checkout)."""
    path = Path(os.environ.get("KVPROOF_RECORDINGS", ROOT.parent / "shared" / "recordings"))
    if not path.is_dir():
        pytest.skip(f"no recordings at {path}; set KVPROOF_RECORDINGS")
    return path
