# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was seen of one fresh prompt, in the neutral terms of the chain (no log line, no metric)."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Attempt:
    """One seed on the holder and one reuse on the receiver.  None always means "not seen by anybody".

    Token counts are tokens of the prompt.  ``layouts`` are the controller's answers to this lookup.
    """

    index: int = 0
    expected: int | None = None  # whole chunks of the common prefix
    seed_error: dict | None = None
    reuse_error: dict | None = None
    stored: int | None = None  # holder, of this seed
    announced: bool | None = None  # controller: holder's key count rose
    logged: bool = False  # the receiver's log shows this request
    layouts: list[dict] | None = None
    hit: int | None = None  # receiver, at lookup (before the load)
    need: int | None = None
    computed: int | None = None  # tokens that the engine's own prefix cache had
    below_min: bool = False
    responded: int | None = None  # receiver's LMCache to its scheduler: tokens in reach
    retrieved: int | None = None  # receiver, loaded, of this request
    cached: int | None = None  # usage.cached_tokens of this response (local and external)
    asked: bool | None = None  # holder was asked for this very request
    peer_error: str | None = None
    timed_out: bool | None = None
    lost_answer: bool = False
    transfer_witness: str | None = None  # who saw the transfer, where the chain's own words do not fit
    control_hits: dict[str, int | None] = field(default_factory=dict)

    @property
    def loaded(self) -> int | None:
        """Tokens of LMCache's KV that this request really used; None: unknown."""
        if self.logged:
            return self.retrieved
        return self.cached

    @property
    def from_peer(self) -> bool | None:
        """Whether the KV came from a peer: the holder saw this id, or the receiver's own answer names a peer."""
        if self.asked and not self.peer_error:
            return True
        named = [e for e in self.layouts or [] if e.get("chunks")]
        if named and self.responded and not self.peer_error:
            return True
        if self.asked is False and self.logged and self.layouts is not None:
            return False
        return None

    @property
    def outcome(self) -> str:
        """One word: proven, unattributed, local, masked, timed-out, below-min, load-failed, missed, error, unknown."""
        if self.seed_error or self.reuse_error:
            return "error"
        if self.logged and (self.computed or 0) > 0 and not self.retrieved:
            return "masked"
        if self.loaded is None:
            return "unknown"
        if self.loaded > 0:
            return {True: "proven", False: "local", None: "unattributed"}[self.from_peer]
        if self.timed_out or self.lost_answer:
            return "timed-out"
        if self.below_min:
            return "below-min"
        if (self.hit or 0) > 0 and (self.need or 0) > 0:
            return "load-failed"
        return "missed"
