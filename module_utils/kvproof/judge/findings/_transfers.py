# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Transfers that the holder's log shows: from the request's arrival to the line that says it is over."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass
class Transfer:
    """One request of this run at the holder; ``finished_s`` seconds after it came, None where the log has no end."""

    at: str | None
    finished_s: float | None = None


def transfers(case, requests: list[dict]) -> list[Transfer]:
    """Of these requests, in the order they came.  LMCache serves one at a time, so the next end is this one's."""
    if not case.holder.log_readable or case.holder.log.get("truncated") is not False:
        return []
    ours = {id(e) for r in requests for e in case.holder.events_of(case.ids(r), "peer_asked")}
    found, current = [], None
    for event in case.holder.events:
        if event.get("kind") == "peer_asked":
            current = Transfer(event.get("at"))
            if id(event) in ours:
                found.append(current)
        elif event.get("kind") == "transfer_finished" and current is not None:
            current.finished_s, current = _between(current.at, event.get("at")), None
    return found


def _between(start: str | None, end: str | None) -> float | None:
    try:
        first, last = (datetime.strptime(text, "%Y-%m-%d %H:%M:%S,%f") for text in (start, end))
    except (TypeError, ValueError):
        return None
    return (last - first).total_seconds()
