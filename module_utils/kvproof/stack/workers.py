# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The workers that an LMCache controller lists (`GET /controller/workers`, LMCache 0.3.7 and later).

The node's reader (node.controller) and the probe (probe.controller) both ask for them.
"""

from __future__ import annotations

from .redact import plain

PATH = "/controller/workers"
_FIELDS = (
    "instance_id",
    "worker_id",
    "ip",
    "port",
    "peer_init_url",
    "registration_time",
    "last_heartbeat_time",
    "key_count",
)
MOST = 1024


def listed(answer: object) -> list[dict] | None:
    """CONTROLLER.workers of the decoded JSON of an answer; None where it is no list of workers.

    `answer` is `{"workers": [{...}], "total_count": N}` (lmcache 0.5.6).  A field that a version does not give is None.
    """
    workers = answer.get("workers") if isinstance(answer, dict) else None
    if not isinstance(workers, list) or not all(isinstance(worker, dict) for worker in workers[:MOST]):
        return None
    return [{field: plain(worker.get(field)) for field in _FIELDS} for worker in workers[:MOST]]


def left_out(answer: object) -> str | None:
    """How many workers of an answer listed() leaves out, in words: no cluster has so many."""
    workers = answer.get("workers") if isinstance(answer, dict) else None
    more = len(workers) - MOST if isinstance(workers, list) else 0
    return f"{more} workers beyond the first {MOST} are left out" if more > 0 else None
