# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of a pair: its cluster, its holder and its receiver."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

Key = tuple[str, str, str]  # cluster, holder, receiver


class PairNames(TypedDict):
    """What every entry on a pair begins with."""

    cluster: str
    holder: str
    receiver: str


class PlannedPair(PairNames):
    """A pair to probe; ``shares``: how many pairs of the run use the busier one of its engines."""

    shares: int


class SkippedPair(PairNames):
    """A pair that has no verdict, and why in a few words."""

    reason: str


def key_of(pair: Mapping[str, Any]) -> Key:
    """What a pair is found by: an entry on it may have more fields."""
    return pair["cluster"], pair["holder"], pair["receiver"]


def names_of(pair: Mapping[str, Any]) -> PairNames:
    """A pair's names alone."""
    return {"cluster": pair["cluster"], "holder": pair["holder"], "receiver": pair["receiver"]}
