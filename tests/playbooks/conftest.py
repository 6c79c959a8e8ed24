# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the tests that run playbooks."""

from __future__ import annotations

import pytest
from callback_project import Project


@pytest.fixture
def project(tmp_path) -> Project:
    return Project(tmp_path)
