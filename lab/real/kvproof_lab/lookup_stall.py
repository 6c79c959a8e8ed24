# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""LMCache 0.5.6 loses the reply to some lookups: its worker uses one zmq.asyncio socket from two event loops.

The request then waits out `lookup_timeout_ms` and counts as a miss. Making the socket anew after registration
leaves it to one loop. A lab needs that to be repeatable; LAB_STALL_FIX=0 leaves LMCache as operators have it.
"""

from __future__ import annotations

from lmcache.v1.cache_controller.worker import LMCacheWorker


def install() -> None:
    register = LMCacheWorker.register

    async def register_then_renew(self):
        await register(self)
        self._recreate_req_socket()

    LMCacheWorker.register = register_then_renew
