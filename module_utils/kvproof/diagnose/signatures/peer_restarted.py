# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import HINT, Signature

SIGNATURE = Signature(
    slug="peer-restarted",
    cause_class="CTRL_RESTART",
    title="A peer no longer knows the receiver: it was restarted",
    proves=(
        "The holder has no transfer handle for this receiver, which had connected to its predecessor. LMCache "
        "connects again by itself from 0.3.10 on, so a line or two are harmless there."
    ),
    cannot="Whether the connection was made again afterwards.",
    remedy="Upgrade LMCache; where the lines go on, restart the receiver.",
    source="LMCache 0.5.6 p2p_backend.py:400; LMCache#2088",
    pattern=r"REMOTE_XFER_HANDLER_NOT_INITIALIZED|does not exist in transfer channel",
    strength=HINT,
)
