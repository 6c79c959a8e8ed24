# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""The module vLLM is pointed at: LMCache's own connector, after the lab's changes to LMCache."""

from __future__ import annotations

import os

from kvproof_lab import cpu_kv, double_free, faults, lookup_stall, nixl_progress, node_address

cpu_kv.install()
node_address.install(os.environ.get("LAB_NODE_ADDRESS"))
nixl_progress.install(os.environ.get("LAB_NIXL", "poll"))
if os.environ.get("LAB_STALL_FIX", "1") == "1":
    lookup_stall.install()
    double_free.install()
faults.install(os.environ.get("LAB_FAULT"))

# after the changes: this import pulls in most of LMCache
from vllm.distributed.kv_transfer.kv_connector.v1.lmcache_connector import (
    LMCacheConnectorV1 as _Shipped,
)


class LMCacheConnectorV1(_Shipped):
    """Nothing is added here: vLLM wants the class to be defined in the module it was told to load."""
