# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import HINT, Signature

SIGNATURE = Signature(
    slug="lookup-timeout",
    cause_class="ASYNC_TIMEOUT",
    title="Lookups were not answered in time, so the prompts were recomputed",
    proves="A request waited for its asynchronous lookup until the time-out, and recomputed.",
    cannot=(
        "Why: LMCache 0.5.6 as shipped loses some replies; an absent controller or an unreachable peer looks the same."
    ),
    remedy=(
        "See whether the controller and the peers named in the layout lines answer; raise lookup_timeout_ms to "
        "tell slow from never."
    ),
    source="LMCache 0.5.6 lookup_client",
    pattern=r"is still waiting for async lookup after"
    r"|async lookup time(?:d )?out|batched_async_contains time(?:d )?out",
    strength=HINT,
)
