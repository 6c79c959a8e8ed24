# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""TTFT of reuse and recompute at other prompt lengths, after the experiment: the document LENGTH, one per length.

What does not fit is skipped with a reason, and so is what failed on the way: nothing here touches the verdict.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..transport.http import Deadline
from . import prompts, sizing
from .completions import CompletionClient
from .document import skipped_length
from .store_watch import StoreWatch

NEW_TOKENS = 2  # only the first one is timed


@dataclass
class LengthProbe:
    """Measures lengths on engines that are warm.  ``left_bytes``: KV that the probe may still make on an engine."""

    run_id: str
    trials: int
    wait_s: float
    deadline: Deadline
    bounds: sizing.Bounds
    material: prompts.Material
    clients: dict[str, CompletionClient]
    watch: StoreWatch
    knockout_fields: Callable[[], dict[str, Any]]
    left_bytes: float | None

    def measure(self, length: int) -> dict[str, Any]:
        """LENGTH of a common prefix of so many tokens, rounded down to whole chunks."""
        chunks = length // self.bounds.chunk_size
        if chunks == 0:
            return skipped_length(length, f"shorter than a chunk of {self.bounds.chunk_size} tokens")
        prefix = chunks * self.bounds.chunk_size + prompts.SLACK_TOKENS
        why = sizing.longer_than_any(self.bounds, prefix)
        if why:
            return skipped_length(length, why)
        pair = prompts.build(self.material, prefix)
        why = sizing.length_refusal(self.bounds, pair, NEW_TOKENS, self.left_bytes)
        if why:
            return skipped_length(length, why)
        document: dict[str, Any] = {"asked": length, "tokens": pair.tokens, "skipped": None, "trials": []}
        for number in range(self.trials):
            prompt_bytes = pair.most_tokens * (self.bounds.kv_bytes_per_token or 0)
            if self.deadline.passed() or (self.left_bytes is not None and prompt_bytes > self.left_bytes):
                break
            if self.left_bytes is not None:
                self.left_bytes -= prompt_bytes
            trial = self._trial(pair, f"len{length}.{number}", knockout_first=number % 2 == 1)
            document["trials"].append(trial)
            document["tokens"] = trial["seed"]["prompt_tokens"] or pair.tokens
            if any((trial[role] or {}).get("error") for role in ("seed", "reuse", "knockout")):
                break
            pair = prompts.build(self.material, prefix)
        if not document["trials"]:
            document["skipped"] = "no time was left (kv_reuse_deadline)"
        return document

    def _trial(self, pair: prompts.PromptPair, name: str, knockout_first: bool) -> dict[str, Any]:
        expected = prompts.expected_hit(pair.prefix_tokens, self.bounds.chunk_size)
        trial: dict[str, Any] = {"expected_hit": expected, "reuse": None, "knockout": None, "visible": None}
        mark = self.watch.before()
        trial["seed"] = seed = self._ask("holder", "seed", pair.seed, name)
        if seed["error"]:
            return trial
        trial["visible"] = self.watch.wait(
            mark,
            seed["response_id"] or seed["request_id"],
            pair.seed_tokens // self.bounds.chunk_size,
            limit=max(0.0, min(self.wait_s, self.deadline.left())),
            since=time.monotonic(),
        )
        for role in ("knockout", "reuse") if knockout_first else ("reuse", "knockout"):
            trial[role] = self._ask("receiver", role, pair.reuse, name)
        return trial

    def _ask(self, engine: str, role: str, prompt: Any, name: str) -> dict[str, Any]:
        extra = self.knockout_fields() if role == "knockout" else None
        return self.clients[engine].ask(role, prompt, f"kvp-{self.run_id}-{name}-{role}", NEW_TOKENS, extra)
