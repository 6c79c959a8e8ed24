# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""LMCache inside the engine process, P2P between peers, found through a controller."""

from .. import Dialect
from . import conditions, observe, transfers

DIALECT = Dialect(
    observe=observe.observe,
    never_seen_hit=observe.never_seen_hit,
    cache_layer=conditions.cache_layer,
    alike=conditions.alike,
    registered=conditions.registered,
    announced=conditions.announced,
    found=conditions.found,
    unseen_by_receiver=observe.unseen_by_receiver,
    transfers=transfers.measured,
)
