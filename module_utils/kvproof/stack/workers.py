# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shape of an LMCache controller's `GET /controller/workers`, whoever asks it.  Pure."""

from __future__ import annotations

WORKERS_PATH = "/controller/workers"
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
_MAX_WORKERS = 1024


def workers_url(base):
    """The address of the workers' list for a controller's base URL, with or without a slash at its end."""
    return base.rstrip("/") + WORKERS_PATH


def workers_from_json(answer):
    """The workers a controller lists, each with exactly the contract's fields; None if it is no such answer.

    `answer` is the decoded JSON: `{"workers": [{...}], "total_count": N}` (lmcache 0.5.6).  A field that a
    version does not give is None.
    """
    workers = answer.get("workers") if isinstance(answer, dict) else None
    if not isinstance(workers, list) or not all(isinstance(worker, dict) for worker in workers):
        return None
    return [{field: worker.get(field) for field in _FIELDS} for worker in workers[:_MAX_WORKERS]]
