# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared by findings that compare one setting of the two nodes."""

from __future__ import annotations

from . import Sighting, strength


def differing_setting(case, key: str, reason: str):
    """A Sighting on the receiver when both nodes' values of a key are known and differ."""
    holder, receiver = (side.setting(key) for side in case.sides)
    if holder is not None and receiver is not None and holder.value != receiver.value:
        yield Sighting(
            case.receiver.name,
            f"{key}: {holder.value}, as on {case.holder}",
            f"{key}: {receiver}",
            reason,
            strength=strength(holder, receiver),
        )
