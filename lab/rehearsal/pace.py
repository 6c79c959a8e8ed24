# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""How long things take: times from parameters, with jitter from a seeded source."""

from __future__ import annotations

import asyncio
import random

from .settings import Parameters


class Pace:
    """Times of one engine.  All in seconds."""

    def __init__(self, parameters: Parameters, name: str):
        self.of = parameters
        self.chance = random.Random(f"{parameters.seed} {name}")

    def jittered(self, seconds: float) -> float:
        if self.of.jitter:
            seconds *= max(0.2, self.chance.gauss(1.0, self.of.jitter))
        return max(seconds, 0.0)

    async def take(self, seconds: float) -> float:
        """Lets the time pass and returns it."""
        spent = self.jittered(seconds)
        if spent > 0:
            await asyncio.sleep(spent)
        return spent

    def prefill(self, tokens: int) -> float:
        return self.of.prefill_base_s + tokens * self.of.prefill_token_s

    def transfer(self, size: int) -> float:
        return self.of.transfer_latency_s + size / (self.of.transfer_gb_s * 2**30)

    def load(self, size: int) -> float:
        """Between the engine's cache and LMCache's memory, either way."""
        return 0.0005 + size / (self.of.load_gb_s * 2**30)
