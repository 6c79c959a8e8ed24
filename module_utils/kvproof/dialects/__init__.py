# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who sees which link of the chain, per architecture and version range.

The core asks here and never names a log line or a metric.  One architecture so far: LMCache in the engine's
process with P2P (LMCache 0.3.7 to 0.5.x).
"""

from __future__ import annotations

ARCHITECTURES = ("inprocess_p2p",)


def observe(case) -> list:
    """The Attempts of a case, as the dialect of its architecture sees them."""
    return _witnesses(case).observe(case)


def never_seen_hit(case) -> int | None:
    """Tokens hit by the never-seen control; None when it was not sent or could not be read."""
    return _witnesses(case).never_seen_hit(case)


def _witnesses(case):
    from .inprocess_p2p import witnesses  # here, so that node-side code can import the package without it

    architecture = case.evidence.get("architecture") or "inprocess_p2p"
    if architecture not in ARCHITECTURES:
        raise ValueError(f"kvproof cannot judge the architecture {architecture!r}; it knows {', '.join(ARCHITECTURES)}")
    return witnesses
