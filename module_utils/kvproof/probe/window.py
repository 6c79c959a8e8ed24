# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rises of one engine's own counters around exactly one request: TRIAL.window.

They tell of that request only where the engine served nothing else meanwhile: the judge sees that by prompt tokens.
"""

from __future__ import annotations

import time

from .engine import Engine
from .metrics import rises

FINISHED = "vllm:request_success_total"
SETTLES_S = 2.0  # vLLM counts a request when its last token is on its way already
POLL_S = 0.05


class Window:
    """Opens with a scrape; ``close()`` scrapes again and gives the rises."""

    def __init__(self, engine: Engine):
        self._engine, self._before = engine, engine.scrape()

    def close(self) -> dict[str, float] | None:
        """Rises once the engine counts one request more as finished, or after SETTLES_S; None where a page could not be
        read, or the engine was restarted."""
        end = time.monotonic() + SETTLES_S
        while True:
            page = self._engine.scrape()
            gained = rises(self._before, page)
            if gained is None or gained.get(FINISHED) or time.monotonic() >= end:
                return gained
            time.sleep(POLL_S)
