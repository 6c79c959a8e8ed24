# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a probe: one default, wherever it is written."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from kvproof.probe.options import EXPERIMENT

ROLE = Path(__file__).resolve().parents[3] / "roles" / "kv_reuse"


@pytest.mark.parametrize("option", [name for name, option in EXPERIMENT.items() if option.metadata["role"]])
def test_the_role_has_the_same_default(option):
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text(encoding="utf-8"))
    assert (defaults[f"kv_reuse_{option}"] or None) == (EXPERIMENT[option].metadata["spec"].get("default") or None)
