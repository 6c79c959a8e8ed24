# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""What the parts of one engine have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .log import Log
from .pace import Pace
from .settings import EngineOptions, Parameters, Shape
from .stats import Page


@dataclass
class Host:
    """``env`` is the engine's environment, ``ip`` the address it reports as its own."""

    options: EngineOptions
    shape: Shape
    env: Mapping[str, str]
    parameters: Parameters
    log: Log
    pace: Pace
    page: Page

    @property
    def ip(self) -> str:
        return self.env.get("LAB_NODE_ADDRESS") or "127.0.0.1"
