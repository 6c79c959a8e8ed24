# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long storing, moving and loading KV took, from both logs by request id, and from the holder's histogram.

The log lines are the better evidence: the histogram counts failed transfers as well (each knock-out makes one), those
to other nodes, and is published every 10 s.  "Retrieved … cost" is the load from LMCache's memory into the engine's;
with asynchronous loading the transfer from the peer is over by then.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ....stack.settings import kv_bytes_per_token
from ...attempt import Attempt
from ...case import Case
from ...counters import counter_delta
from ...interval import spread
from ...side import Side

TIME = "%Y-%m-%d %H:%M:%S,%f"
HISTOGRAM, SPEED = "lmcache:p2p_time_to_transfer", "lmcache:p2p_transfer_speed"
MOST_TRANSFERS = 1e9  # of one probe; more is no count
GB = 2**30  # as LMCache counts


def measured(case: Case, attempts: list[Attempt]) -> dict:
    """{store_s, transfer_s, transfer_gb_s, load_s, load_gb_s, histogram} of the prompts proven to be reused."""
    proven = [(trial, attempt) for trial, attempt in zip(case.trials, attempts) if attempt.outcome == "proven"]
    size = kv_bytes_per_token(_meta(case.holder))
    stores, moves, speeds, loads = [], [], [], []
    for trial, attempt in proven:
        stores.append(_cost(case.holder, case.ids(trial.get("seed")), "stored"))
        loads.append(_cost(case.receiver, case.ids(trial.get("reuse")), "retrieved"))
        seconds = _moved(case.holder, case.ids(trial.get("reuse")))
        moves.append(seconds)
        if seconds and size and attempt.loaded:
            speeds.append(attempt.loaded * size / GB / seconds)
    return {
        "store_s": spread(cost and cost[0] for cost in stores),
        "transfer_s": spread(moves),
        "transfer_gb_s": spread(speeds),
        "load_s": spread(cost and cost[0] for cost in loads),
        "load_gb_s": spread(cost and cost[1] for cost in loads),
        "histogram": _histogram(case, size, bool(proven)),
    }


def _meta(side: Side) -> dict:
    return {key: side.meta(key) for key in ("kv_shape", "kv_dtype", "world_size")}


def _cost(side: Side, ids: tuple[str, ...], kind: str) -> tuple[float, float | None] | None:
    """Seconds and GB/s by a request's own log lines; None without one, and where several ranks write them.

    A prompt stored in steps has a line for each, one after the other: the seconds are their sum, the speed is that of
    the slowest.  Ranks work side by side, so their seconds must not be summed.
    """
    lines = [event for event in side.events_of(ids, kind) if event.get("cost_ms") is not None]
    if not lines or side.ranks != 1:
        return None
    speeds = [event["gb_s"] for event in lines if event.get("gb_s") is not None]
    return sum(event["cost_ms"] for event in lines) / 1000, min(speeds, default=None)


def _moved(holder: Side, ids: tuple[str, ...]) -> float | None:
    """Seconds that the holder served this request; None where several ranks answer, or a line is missing."""
    served = [transfer.finished_s for transfer in transfers(holder, ids)]
    return served[0] if len(served) == 1 and (served[0] or 0) >= 0 else None


@dataclass
class Transfer:
    """One request at the holder: ``finished_s`` seconds after it came, None where the log has no end of it."""

    at: str | None
    finished_s: float | None = None


def transfers(holder: Side, ids: tuple[str, ...]) -> list[Transfer]:
    """Of the requests with these ids, in the order they came: from the "Received … lookup_id" line of the id to the
    next "finished", which bears no id.  LMCache serves one request at a time, so that is this one's."""
    of_these_ids = {id(event) for event in holder.events_of(ids, "peer_asked")}
    served, current = [], None
    for event in holder.events:
        if event.get("kind") == "peer_asked":
            current = Transfer(event.get("at"))
            if id(event) in of_these_ids:
                served.append(current)
        elif event.get("kind") == "transfer_finished" and current is not None:
            current.finished_s, current = _between(current.at, event.get("at")), None
    return served


def _between(first: str | None, last: str | None) -> float | None:
    try:
        return (datetime.strptime(last or "", TIME) - datetime.strptime(first or "", TIME)).total_seconds()
    except ValueError:
        return None


def _histogram(case: Case, size: float | None, proven: bool) -> dict | None:
    """What the holder's histogram gained over the probe.  state: ok, not flushed yet, or not exported."""
    page = (case.holder.engine.get("metrics") or {}).get("after") or {}
    if page.get("state") != "ok":
        return None
    count = counter_delta(case.holder, HISTOGRAM + "_count")
    gained: dict[str, Any] = {"state": "ok", "transfers": None, "mean_s": None, "mean_gb_s": None}
    if not page.get("lmcache"):
        return {**gained, "state": "not exported"}
    if not count or count > MOST_TRANSFERS:  # the series itself appears with the first transfer that is published
        return {**gained, "state": "not flushed yet"} if proven else None
    passed, speed = (counter_delta(case.holder, name + "_sum") for name in (HISTOGRAM, SPEED))
    gained.update(transfers=int(count), mean_s=None if passed is None else round(passed / count, 6))
    if speed is not None and size:
        gained["mean_gb_s"] = round(speed / count * size / GB, 6)
    return gained
