# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..pasted import Line
from . import Finding

FINDING = Finding(
    slug="worker-reaped",
    link=5,
    kind="cause",
    title="The controller removes workers that send no heartbeat",
    meaning="The controller's health check found a worker's last heartbeat too old and forgot all that it holds.",
    evidence="`Worker … last heartbeat time: …, more than … seconds` in the controller's log, and no process ended.",
    remedy=(
        "Set lmcache_worker_heartbeat_time: 10 on the engines and give --monitor-ports a heartbeat port, or "
        "switch the controller's health check off."
    ),
    source="LMCache 0.5.6 controller_manager.py:499; LMCache#4808",
    cause_class="CTRL_REAP",
    cannot="Whether the worker was dead, or sends no heartbeats (its default).",
    pasted=Line("worker_late", unless=("process_ended",)),
)
