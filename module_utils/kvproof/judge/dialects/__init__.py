# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who sees which link of the chain, per architecture and version range.

The core asks here and never names a log line or a metric.

inprocess_p2p: LMCache in the engine's process with P2P and a controller (LMCache 0.3.7 to 0.5.x), gathered live.
mp, lmcache_pd, nixl_pd: judged from recordings; nothing gathers their evidence from a live cluster yet.
"""

from __future__ import annotations

import importlib

MODULES = {
    "inprocess_p2p": ".inprocess_p2p.witnesses",
    "mp": ".mp",
    "lmcache_pd": ".lmcache_pd",
    "nixl_pd": ".nixl_pd",
}


def observe(case) -> list:
    """The Attempts of a case, as the dialect of its architecture sees them.  Raises ValueError for an unknown one."""
    return _witnesses(case).observe(case)


def never_seen_hit(case) -> int | None:
    """Tokens hit by the never-seen control; None when it was not sent or could not be read."""
    return _witnesses(case).never_seen_hit(case) if case.architecture in MODULES else None


def transfers(case, attempts: list) -> dict | None:
    """How long storing, moving and loading KV took; None where the architecture's dialect cannot tell."""
    look = getattr(_witnesses(case), "transfers", None) if case.architecture in MODULES else None
    return look(case, attempts) if look else None


def _witnesses(case):
    if case.architecture not in MODULES:
        raise ValueError(f"kvproof cannot judge the architecture {case.architecture!r}; it knows {', '.join(MODULES)}")
    # imported late: node-side code imports this package for the log lines alone
    return importlib.import_module(MODULES[case.architecture], __package__)
