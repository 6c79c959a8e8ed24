# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""Two nodes on one machine have one default route, so LMCache would report the same address for both."""

from __future__ import annotations

import lmcache.v1.rpc_utils as rpc
from lmcache.v1.cache_controller import worker


def install(address: str | None) -> None:
    if address:
        rpc.get_ip = worker.get_ip = lambda: address
