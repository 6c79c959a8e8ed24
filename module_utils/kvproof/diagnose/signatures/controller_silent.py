# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import HINT, Signature

SIGNATURE = Signature(
    slug="controller-silent",
    cause_class="CTRL_PORT",
    title="The controller did not answer a worker in time",
    proves="A message to the controller ran into its time-out and the socket was made again.",
    cannot="Whether the controller is gone, restarting, or slow.",
    remedy="See that the controller runs and that its ports answer from this node.",
    source="LMCache 0.5.6 cache_controller/worker.py:286",
    pattern=r"LMCache ERROR: (?:Heartbeat timeout|Timeout) occurred, recreating socket",
    strength=HINT,
)
