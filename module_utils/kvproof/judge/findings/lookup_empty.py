# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..pasted import HINT, Line
from . import Finding

FINDING = Finding(
    slug="lookup-empty",
    link=9,
    kind="cause",
    title="The controller named nobody who has the prompt",
    meaning=(
        "At the time of that lookup the controller knew of no holder. That is normal for a prompt that nobody has "
        "stored. The controller's own /lookup is empty, too, where it hashes otherwise than the nodes: it has chunks "
        "of 256 tokens, the built-in hash and a seed of its own."
    ),
    evidence="A controller's answer that names no instance, in the receiver's log or from /lookup.",
    remedy=(
        "Compare NONE_HASH, chunk_size and hash of both nodes' logs, and the holder's key_count before and after "
        "a prompt."
    ),
    source="LMCache 0.5.6 kv_controller.py; LMCache#1720, LMCache#2270",
    cause_class="CTRL_LOOKUP",
    cannot="Whether the prompt had been stored, announced, or is hashed otherwise on the nodes.",
    pasted=Line("lookup_empty", strength=HINT),
)
