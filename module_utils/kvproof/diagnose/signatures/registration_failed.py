# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Signature

SIGNATURE = Signature(
    slug="registration-failed",
    cause_class="CTRL_PORT",
    title="The engine could not register at the controller",
    proves=(
        "The controller did not answer when the engine started. It is asked once; until a restart nobody is told "
        "what this engine holds."
    ),
    cannot="Whether it was not running, listens elsewhere, or is kept away by the network.",
    remedy=(
        "Start the controller first (--host 0.0.0.0, both monitor ports), see that controller_pull_url and "
        "controller_reply_url name it, then restart the engine."
    ),
    source="LMCache 0.5.6 cache_controller/worker.py:227",
    pattern=r"Failed to register with controller",
)
