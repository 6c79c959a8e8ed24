# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""LMCache's multiprocess mode: a cache server beside every engine, which fetches from other servers by P2P."""

from .. import Dialect
from . import conditions, observe

DIALECT = Dialect(
    observe=observe.observe,
    never_seen_hit=observe.never_seen_hit,
    cache_layer=conditions.cache_layer,
    alike=conditions.alike,
    registered=conditions.registered,
    announced=conditions.announced,
    found=conditions.found,
    stored=conditions.stored,
)
