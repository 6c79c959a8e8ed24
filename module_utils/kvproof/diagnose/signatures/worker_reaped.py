# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Signature

SIGNATURE = Signature(
    slug="worker-reaped",
    cause_class="CTRL_REAP",
    title="The controller removes workers that send no heartbeat",
    proves="The controller's health check found a worker's last heartbeat too old and forgot all that it holds.",
    cannot="Whether the worker was dead, or sends no heartbeats (its default).",
    remedy=(
        "Set lmcache_worker_heartbeat_time: 10 on the engines and give --monitor-ports a heartbeat port, or "
        "switch the controller's health check off."
    ),
    source="LMCache 0.5.6 controller_manager.py:499; LMCache#4808",
    pattern=r"Worker \S+ last heartbeat time: .*more than \d+ seconds",
    not_with=r"EngineDeadError|\bKilled\b|SIGKILL|SIGTERM|out of memory",
)
