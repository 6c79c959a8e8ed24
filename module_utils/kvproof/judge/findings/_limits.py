# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of performance as sightings."""

from __future__ import annotations

from ..limits import MISSED, checked
from . import Sighting


def missed(case, attempts, name: str):
    """A Sighting where this limit lies outside the whole interval."""
    for limit in checked(case, attempts):
        if limit.name == name and limit.state == MISSED:
            reason = f"the whole interval misses {name}; for {case.prompt.get('tokens')} tokens on this pair"
            yield Sighting(case.receiver.name, limit.expected, limit.observed, reason)
