# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes that nothing could be read from, as sightings."""

from __future__ import annotations

from . import Sighting


def nodes(case, state: str, expected: str):
    """A Sighting for each node whose reading ended in this state of NODE.ssh."""
    for side in case.sides:
        if side.node.get("ssh") == state:
            observed = str(side.node.get("ssh_reason") or state)
            yield Sighting(side.name, expected, observed, "what only the node can tell is unknown")
