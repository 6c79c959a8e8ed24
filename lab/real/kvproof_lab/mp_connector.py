# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""The module that vLLM is pointed at where a fault has to be planted in an engine of multiprocess mode."""

from __future__ import annotations

import os

from kvproof_lab import faults

faults.install(os.environ.get("LAB_FAULT"))

from vllm.distributed.kv_transfer.kv_connector.v1.lmcache_mp_connector import LMCacheMPConnector as _Shipped


class LMCacheMPConnector(_Shipped):
    """Nothing is added here: vLLM wants the class to be defined in the module it was told to load."""
