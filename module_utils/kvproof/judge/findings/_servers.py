# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..case import Case
from ..side import Side


def unregistered(case: Case) -> list[Side]:
    """The sides whose cache server has P2P on and is registered with no coordinator."""
    return [
        side
        for side in case.sides
        if side.server.get("p2p_enabled") and side.server.get("p2p_state") not in (None, "registered")
    ]


def started_with(side: Side, option: str) -> object:
    """An option of the cache server's command line, None where it was not seen."""
    given = [document.get("options") or {} for document in side.server_readings]
    return next((options[option] for options in given if option in options), None)
