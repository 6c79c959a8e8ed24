# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Finding, Sighting

FINDING = Finding(
    slug="peer-error",
    link=10,
    kind="cause",
    rank=10,
    title="The holder answered the transfer with an error",
    meaning="The receiver found the chunks and asked the holder, which could not send them.",
    evidence=(
        "`P2P error for lookup_id` on the receiver or `Error during P2P batched lookup` on the "
        "holder, for this request."
    ),
    remedy="Compare model path, dtype and version of the two nodes; read the traceback in the holder's log.",
    source="LMCache 0.5.6 p2p_backend.py:435",
    of_requests=True,
)


def look(case, attempts):
    failed = [a for a in attempts if a.peer_error and a.outcome in ("missed", "timed-out", "load-failed")]
    if failed:
        yield Sighting(
            case.holder.name,
            "a transfer",
            str(failed[0].peer_error),
            "the holder could not serve the chunks it announced",
        )
