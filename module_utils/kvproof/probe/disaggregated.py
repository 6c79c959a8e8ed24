# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the experiments of a prefill and a decode engine share: the probe plays the proxy between them.

The holder gets a prompt for one token and answers for whom its KV is kept; the receiver gets the very same prompt with
what the holder answered.  The knock-out is the same prompt without that.  So nothing but the KV's way is compared.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

from ..transport.http import RequestFailed
from . import prompts
from .completions import REFUSED
from .experiment import WARMUP_TOKENS, Experiment
from .window import Window


class Disaggregated(Experiment):
    """A pair's experiment that plays the proxy."""

    no_lengths = "other lengths are not measured of engines that prefill or decode alone"
    _last: tuple[prompts.PromptPair, int]  # the prompt of the last trial with a reuse, and its tokens to generate

    # ---- what an architecture's experiment says

    def prefill_fields(self, request_id: str) -> dict[str, Any]:
        """What a prefill request has beside its prompt."""
        raise NotImplementedError

    def decode_fields(self, offered: Any) -> dict[str, Any] | None:
        """What the decode request has beside its prompt; None where it must not be sent.

        offered: ``kv_transfer_params`` of the holder's answer, whole.  Never made up and never changed: engines were
        seen to die of half of it.
        """
        raise NotImplementedError

    @staticmethod
    def knockout_fields() -> dict[str, Any]:
        """The prompt alone, with a salt that keeps vLLM's own prefix cache out."""
        return {"cache_salt": secrets.token_hex(16)}

    # ---- what it has to say it with

    def prefill(self, role: str, label: str) -> tuple[dict[str, Any], prompts.PromptPair, Any]:
        """A fresh prompt on the holder: its REQUEST, the prompt, and the answer's kv_transfer_params, whole."""
        pair = self.build()
        pair = replace(pair, seed=pair.reuse, seed_tokens=pair.tokens, prefix_tokens=pair.tokens)
        client = self.clients["holder"]
        client.streams = False  # vLLM streams no kv_transfer_params
        fields = self.prefill_fields(f"kvp-{self.settings.run_id}-{label}")
        request = self.ask("holder", role, pair.seed, label, max_tokens=1, extra=fields)
        return request, pair, None if request["error"] else client.kv_transfer_params

    def measured(self, role: str, prompt: Any, label: str, tokens: int, extra: dict[str, Any] | None = None) -> tuple:
        """A request to the receiver and the rises of its counters around it."""
        window = self.window()
        request = self.ask("receiver", role, prompt, label, max_tokens=tokens, extra=extra)
        return request, window.close()

    def window(self) -> Window:
        """On the receiver's counters, from now on."""
        return Window(self.receiver)

    def knock(self, role: str, label: str) -> tuple:
        """The last reuse's prompt without what the holder answered, and the rises around it."""
        pair, tokens = self._last
        return self.measured(role, pair.reuse, label, tokens, self.knockout_fields())

    def warm_up(self) -> int | None:
        """Takes the engines' first contact with each other out of the trials.

        Returns the status with which an engine refused the prompt, None when both took it.
        Raises RequestFailed where the holder gave no answer.  A receiver that fails is left to the trials: a transfer
        that does not work ends in an error there.
        """
        label = "warmup" if self.material.source != "text" else "warmup-text"
        seed, pair, offered = self.prefill("warmup", f"{label}-holder")
        self.probe["warmup"].append(seed)
        error, fields = seed["error"], None
        if not error and (fields := self.decode_fields(offered)) is not None:
            self.delivered()
            reuse = self.ask(
                "receiver", "warmup", pair.reuse, f"{label}-receiver", max_tokens=WARMUP_TOKENS, extra=fields
            )
            self.probe["warmup"].append(reuse)
            error = reuse["error"]
        if error and error["status"] in REFUSED:
            return error["status"]
        if seed["error"]:
            raise RequestFailed(
                error["kind"], "the warm-up of the holder failed, so no trial was made", error["status"]
            )
        return None

    def delivered(self) -> None:
        """Waits until the holder's KV can be used."""

    def controls(self) -> None:
        """Never-seen and the second recompute, each with its window."""
        if not any(trial["reuse"] for trial in self.probe["trials"]) or self.gave_up():
            return
        pair, tokens = self._last
        unseen = prompts.with_other_prefix(pair, self.build())
        never, window = self.measured("never_seen", unseen, "never", tokens)
        self.probe["never_seen"], self.probe["window"] = never, {"never_seen": window}
        self.probe["recompute"], self.probe["window"]["recompute"] = self.knock("recompute", "recompute")
