# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was seen of one fresh prompt, in the neutral terms of the chain (no log line, no metric)."""

from __future__ import annotations

from dataclasses import dataclass, field

# KV was used, whatever its source: no condition can have kept it from being used.
REUSED = frozenset({"proven", "unattributed", "local"})


@dataclass
class Attempt:
    """One seed on the holder and one reuse on the receiver.  None always means "not seen by anybody".

    Token counts are tokens of the prompt.  ``layouts`` are the controller's answers to this lookup; None also where
    they cannot be told from those to other lookups.
    """

    index: int = 0
    expected: int | None = None  # whole chunks of the common prefix
    seed_error: dict | None = None
    reuse_error: dict | None = None
    sent: bool = True  # the reuse was sent at all
    stored: int | None = None  # holder, of this seed
    announced: bool | None = None  # controller: holder's key count rose
    logged: bool = False  # the receiver's log shows this request
    layouts: list[dict] | None = None
    named: bool | None = None  # one of them names this holder
    hit: int | None = None  # receiver, at lookup (before the load)
    need: int | None = None
    computed: int | None = None  # tokens that the engine's own prefix cache had
    below_min: bool = False
    responded: int | None = None  # receiver's LMCache to its scheduler: tokens in reach
    retrieved: int | None = None  # receiver, loaded, of this request
    cached: int | None = None  # usage.cached_tokens of this response (local and external)
    counted: int | None = None  # external hits by the counters of a proven idle window
    asked: bool | None = None  # holder was asked for this very request
    peer_error: str | None = None
    peer_lost: bool = False  # the receiver gave the transfer up
    timed_out: bool | None = None
    slow: bool = False  # so slow that a time-out cannot be told from a slow engine
    lost_answer: bool = False
    disturbed: bool = False  # a request of this run ran into the time-out: a plain miss beside it proves nothing
    transfer_witness: str | None = None  # who saw the transfer, where the chain's own words do not fit
    way: str | None = None  # set where KV may come from anywhere and is proven to be another engine's (apart.py)
    control_hits: dict[str, int | None] = field(default_factory=dict)

    @property
    def loaded(self) -> int | None:
        """Tokens of LMCache's KV that this request really used; None: unknown."""
        if self.logged:
            return self.retrieved
        return self.counted if self.cached is None else self.cached

    @property
    def from_peer(self) -> bool | None:
        """Whether the KV came from this pair's holder.

        It did where the holder was asked for this id: LMCache asks a peer before any shared store and stops where
        the peer fails, so something loaded means that the peer delivered.  Without the holder's log, the
        controller's answer to this very lookup tells.
        """
        if self.peer_error or self.peer_lost:
            return None
        if self.asked:
            return True
        if self.asked is None:
            return True if self.named and self.responded else None
        no_answer = self.layouts is not None and not any(e.get("chunks") for e in self.layouts)
        return False if self.logged and no_answer else None

    @property
    def masked(self) -> bool:
        """The engine's own prefix cache had the prompt, so that nothing had to be loaded."""
        nothing_to_load = self.need is not None and self.need <= 0 and not self.below_min
        had = (self.computed or 0) > 0 or (self.hit or 0) > 0
        return self.logged and nothing_to_load and had and not self.retrieved

    @property
    def outcome(self) -> str:
        """One word.

        error, unsent (cut off before the reuse), masked, unknown; of reused ones proven, local, unattributed; of
        others timed-out, slow, below-min, load-failed, missed.
        """
        if self.seed_error or self.reuse_error:
            return "error"
        if not self.sent:
            return "unsent"
        if self.masked:
            return "masked"
        if self.loaded is None:
            return "timed-out" if self.timed_out else "unknown"
        if self.loaded > 0 and self.way:
            return "proven"
        if self.loaded > 0:
            return {True: "proven", False: "local", None: "unattributed"}[self.from_peer]
        if self.timed_out or self.lost_answer:
            return "timed-out"
        if self.slow:
            return "slow"
        if self.below_min:
            return "below-min"
        if (self.hit or 0) > 0 and (self.need or 0) > 0:
            return "load-failed"
        return "missed"
