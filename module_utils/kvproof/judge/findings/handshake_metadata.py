# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..pasted import HINT, Line
from . import Finding

FINDING = Finding(
    slug="handshake-metadata",
    link=10,
    kind="cause",
    title="NIXL could not set up a transfer with the peer",
    meaning="The handshake with the peer, or NIXL's use of what it sent, failed; nothing was transferred.",
    evidence="NIXL's error codes, or `handshake_failed`, in an engine's log.",
    remedy="Try the same tensor parallel size on both sides, then the same image and UCX_TLS.",
    source="vLLM 0.32 nixl/base_worker.py; vllm#50765",
    cause_class="PD_TP",
    cannot="Whether parallel sizes, KV layouts or transports of the two engines differ, or the peer had ended.",
    pasted=Line("nixl_failed", strength=HINT),
)
