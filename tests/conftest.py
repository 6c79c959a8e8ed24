"""What all tests share: one Hypothesis profile, what counts as slow, and where the recordings are.

Where helpers are found is said in pyproject.toml (``pythonpath``): in tests/support, never in another test module.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import recordings as recording
from hypothesis import HealthCheck, settings

# No deadline: a test's time says how busy the machine is. The same examples each time where a failure stops others.
settings.register_profile(
    "kvproof",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("kvproof")

TESTS = Path(__file__).resolve().parent
SLOW = [TESTS / folder for folder in ("playbooks", "lab", "faults", "browser", "pipelines")]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Folders whose tests start clusters or browsers or play playbooks are slow, as are single tests marked so."""
    for item in items:
        if any(folder in item.path.parents for folder in SLOW):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def recordings() -> Path:
    """Folder with the recordings of a real cluster (KVPROOF_RECORDINGS, else beside the checkout)."""
    if not recording.RECORDINGS.is_dir():
        pytest.skip(f"no recordings at {recording.RECORDINGS}; set KVPROOF_RECORDINGS")
    return recording.RECORDINGS
