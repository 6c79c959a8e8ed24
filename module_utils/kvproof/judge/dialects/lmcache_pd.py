# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""LMCache's prefill/decode transfer (enable_pd): the prefill node pushes a prompt's KV to the decode node.

Log lines are those of the in-process mode.  A decode node whose only backend is the PD backend keeps nothing of its
own, so what it loads for a fresh prompt was pushed by a prefill node.  Judged from recordings of LMCache 0.5.6;
nothing gathers this evidence from a live cluster yet.
"""

from __future__ import annotations

from dataclasses import replace

from ..attempt import Attempt
from ..case import Case
from . import inprocess_p2p

BACKEND = "PDBackend"


def observe(case: Case) -> list[Attempt]:
    """One Attempt per fresh prompt.  All of the prompt is expected, not whole chunks."""
    attempts = inprocess_p2p.DIALECT.observe(case)
    only_pushed = case.receiver.backends == [BACKEND]
    for trial, attempt in zip(case.trials, attempts):
        attempt.expected = trial.get("prefix_tokens")
        if attempt.loaded and only_pushed:
            attempt.asked = True
            attempt.transfer_witness = f"pushed: {case.receiver.name} has no other backend than {BACKEND}"
    return attempts


DIALECT = replace(inprocess_p2p.DIALECT, observe=observe, transfers=lambda case, attempts: None)
