# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The experiment for LMCache's prefill/decode transfer.

Per trial: the prompt on the sender, which gets the disagg_spec of this receiver and never a request without, then the
very prompt on the receiver, which uses the KV up, then a knock-out there.  No line tells when the KV has arrived, and a
receiver hands out chunks that are still being written, so all prompts are sent first and one full wait serves them all.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from . import inprocess_p2p, sizing
from .disaggregated import Disaggregated
from .document import empty_trial
from .experiment import FEW_TOKENS
from .options import Settings

LEAST_WAIT_S = 2.0  # what is read while it is written is another prompt's KV


def most_chunks(settings: Settings) -> int:
    """Whole chunks that a prompt may have.  A sender waits without a limit for room in its buffer, and a receiver keeps
    what nobody reads: all prompts of a run together take half of either at most, each with its ending's chunks."""
    return (settings.disagg.chunks or 0) // 2 // ((settings.trials + 1) * settings.shares) - 2


class LmcachePd(Disaggregated):
    """The experiment of a sender and a receiver, with settings whose ``disagg`` is right for them."""

    knockout_fields = staticmethod(inprocess_p2p.knockout_fields)

    def sizes(self) -> tuple[sizing.Bounds, str]:
        bounds, source = super().sizes()
        return replace(bounds, chunks=min(bounds.chunks, most_chunks(self.settings)), pool_bytes=None), source

    def prefill_fields(self, request_id: str) -> dict[str, Any]:
        spec = {"req_id": request_id, **self.settings.disagg.spec}
        return {"kv_transfer_params": {"ret_first_tok": True, "disagg_spec": spec}}

    def decode_fields(self, offered: Any) -> dict[str, Any]:
        return {}  # the KV is there already, under the keys of the prompt's chunks

    def delivered(self) -> None:
        limit = max(self.settings.wait_s, LEAST_WAIT_S)
        if self.deadline.left() < limit:
            raise self.receiver.http.deadline_error()
        time.sleep(max(0.0, self.ended + limit - time.monotonic()))

    def trials(self) -> None:
        sent = []
        for index in range(self.settings.trials):
            request, pair, _offered = self.prefill("seed", f"{index}-seed")
            chunk = self.bounds.chunk_size
            self.probe["trials"].append(empty_trial(index, 0, "reuse-first", seed=request, pair=pair, chunk_size=chunk))
            if request["error"]:
                break  # no more to a sender that failed
            sent.append((self.probe["trials"][-1], pair))
        if sent:
            self.delivered()
        for trial, pair in sent:
            index = trial["index"]
            self._last = pair, self.settings.max_tokens if index == 0 else FEW_TOKENS
            trial["reuse"], reused = self.measured("reuse", pair.reuse, f"{index}-reuse", self._last[1])
            trial["window"] = {"receiver": reused}
            if trial["reuse"]["error"]:
                continue
            trial["knockout"], trial["window"]["knockout"] = self.knock("knockout", f"{index}-knockout")
            trial["knockout_how"] = "tag"
