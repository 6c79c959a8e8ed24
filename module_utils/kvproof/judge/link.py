# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One link of the chain: its number, what it is called, and its state."""

from __future__ import annotations

from dataclasses import dataclass

HOLDS, INFERRED, BROKEN, UNKNOWN, NOT_NEEDED = "holds", "holds (inferred)", "broken", "unknown", "not needed"

NAMES = {
    1: ("reachable", "condition"),
    2: ("engine up", "condition"),
    3: ("cache layer up", "condition"),
    4: ("configured alike", "condition"),
    5: ("registered", "condition"),
    6: ("experiment valid", "validity"),
    7: ("stored", "outcome"),
    8: ("announced", "outcome"),
    9: ("found", "outcome"),
    10: ("transferred", "outcome"),
    11: ("loaded", "outcome"),
    12: ("right", "outcome"),
    13: ("worth it", "performance"),
}


@dataclass
class Link:
    """One link: number, name, kind, state and one sentence of what was seen."""

    number: int
    state: str
    text: str

    @property
    def name(self) -> str:
        return NAMES[self.number][0]

    @property
    def kind(self) -> str:
        return NAMES[self.number][1]


def tokens(count: int | None) -> str:
    return "an unknown number of tokens" if count is None else f"{count} tokens"
