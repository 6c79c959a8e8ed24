# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The experiment for vLLM's NixlConnector.

Per trial: the prompt on the prefill engine, which keeps its blocks and answers where they are; the same prompt with
just that answer on the decode engine, which reads them there; then a knock-out, the prompt alone.  Around each request
to the decode engine its counters, the only witness of what it read.

What was answered is used at once and once: read a second time, or after the lease, the blocks are another prompt's, and
the decode engine answers 200 all the same.
"""

from __future__ import annotations

import time
from typing import Any

from .disaggregated import Disaggregated
from .document import empty_trial
from .experiment import FEW_TOKENS

#: How a proxy asks a prefill engine to keep a prompt's blocks (vLLM 0.32, nixl/pull_scheduler.py).
KEEP = {
    "do_remote_decode": True,
    "do_remote_prefill": False,
    "remote_engine_id": None,
    "remote_block_ids": None,
    "remote_host": None,
    "remote_port": None,
}
#: Without one of these a decode engine parks the request for good.
NEEDED = ("remote_engine_id", "remote_request_id", "remote_host", "remote_port", "remote_block_ids")
FRESH_S = 10.0  # a prefill engine keeps blocks for 30 s unless told otherwise (kv_lease_duration)


class NixlPd(Disaggregated):
    """The experiment of a prefill and a decode engine."""

    def prefill_fields(self, request_id: str) -> dict[str, Any]:
        return {"kv_transfer_params": dict(KEEP)}

    def decode_fields(self, offered: Any) -> dict[str, Any] | None:
        whole = isinstance(offered, dict) and offered.get("do_remote_prefill") is True
        if not whole or not all(offered.get(name) for name in NEEDED):
            return None
        return {"kv_transfer_params": offered}

    def trial(self, index: int) -> None:
        seed, pair, offered = self.prefill("seed", f"{index}-seed")
        answered = time.monotonic()
        trial = empty_trial(index, 0, "reuse-first", seed=seed, pair=pair, chunk_size=self.bounds.chunk_size)
        self.probe["trials"].append(trial)
        fields = self.decode_fields(offered)
        if seed["error"] or fields is None:
            return
        self._last = pair, self.settings.max_tokens if index == 0 else FEW_TOKENS
        window = self.window()
        if time.monotonic() - answered > FRESH_S:
            self.note("receiver.reuse", {"kind": "deadline", "status": None, "text": TOO_LATE})
            return
        trial["reuse"] = self.ask(
            "receiver", "reuse", pair.reuse, f"{index}-reuse", max_tokens=self._last[1], extra=fields
        )
        trial["window"] = {"receiver": window.close()}
        if trial["reuse"]["error"]:
            return
        trial["knockout"], trial["window"]["knockout"] = self.knock("knockout", f"{index}-knockout")
        trial["knockout_how"] = "plain"


TOO_LATE = f"the decode engine's metrics took more than {FRESH_S:.0f} s, so the kept blocks were not asked for"
