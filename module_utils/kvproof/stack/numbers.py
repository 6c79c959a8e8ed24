# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of numbers from outside: whether a value is plausible, before anything is sized by it."""

from __future__ import annotations

#: No count of tokens or bytes, no time and no setting of a cluster is beyond it; above 2**53 a float has no units left.
LARGEST = 10**15


def is_plausible(value: object) -> bool:
    """Whether a value is a number (no boolean, no NaN) of a size that can be meant."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -LARGEST <= value <= LARGEST


def whole(value: object, least: int = 0, most: int = LARGEST) -> int | None:
    """A whole number within these bounds as an int, None for anything else.  A float without a fraction serves."""
    if is_plausible(value) and least <= value <= most and value == int(value):  # type: ignore[operator,call-overload]
        return int(value)  # type: ignore[call-overload]
    return None


def of_digits(text: str) -> int | None:
    """The number that a text of digits is, None where it has too many of them."""
    return whole(int(text), -LARGEST) if len(text) <= 17 else None
