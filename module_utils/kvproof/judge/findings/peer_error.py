# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..pasted import HINT, Sign
from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="peer-error",
    link=10,
    kind="cause",
    rank=10,
    title="The holder answered the transfer with an error",
    meaning=(
        "The receiver found the chunks and asked the holder, which could not send them. A holder that was restarted "
        "does not know the receiver any more: REMOTE_XFER_HANDLER_NOT_INITIALIZED."
    ),
    evidence=(
        "`P2P error for lookup_id` on the receiver or `Error during P2P batched lookup` on the "
        "holder, for this request."
    ),
    remedy="Compare model path, dtype and version of the two nodes; read the traceback in the holder's log.",
    source="LMCache 0.5.6 p2p_backend.py:400 and 435; LMCache#2088",
    of_requests=True,
    cause_class="CTRL_RESTART",
    cannot="Whether the holder was restarted and the connection made again afterwards; a line or two are harmless.",
)

AGAIN = "Upgrade LMCache (from 0.3.10 on it connects again by itself), or restart the receiver."


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    failed = [a for a in attempts if a.peer_error and a.outcome in ("missed", "timed-out", "load-failed")]
    if failed:
        yield Sighting(
            case.holder.name,
            "a transfer",
            str(failed[0].peer_error),
            "the holder could not serve the chunks it announced",
        )


def pasted(material):
    for role, line in material.lines("peer_forgotten", "receiver_unknown"):
        yield Sign(role, line, HINT, remedy=AGAIN)
