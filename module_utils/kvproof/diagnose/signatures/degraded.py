# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Signature

SIGNATURE = Signature(
    slug="degraded",
    cause_class="DEGRADED",
    title="LMCache failed to start; the engine goes on, or ends, without it",
    proves="LMCache gave up while it was initialised. From then on it stores and finds nothing.",
    cannot="Why, unless the error before this line was pasted too.",
    remedy="Read the first LMCache ERROR before this line, correct what it names, restart the engine.",
    source="LMCache 0.5.6 v1/manager.py",
    pattern=r"marked as init failed|operate in degraded mode"
    r"|Failed to initialize LMCacheManager|LMCache is unhealthy, skipping",
)
