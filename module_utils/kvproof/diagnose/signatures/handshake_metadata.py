# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import HINT, Signature

SIGNATURE = Signature(
    slug="handshake-metadata",
    cause_class="PD_TP",
    title="NIXL could not set up a transfer with the peer",
    proves="The handshake with the peer, or NIXL's use of what it sent, failed; nothing was transferred.",
    cannot=("Whether parallel sizes, KV layouts or transports of the two engines differ, or the peer had ended."),
    remedy="Try the same tensor parallel size on both sides, then the same image and UCX_TLS.",
    source="vLLM 0.32 nixl/base_worker.py; vllm#50765",
    pattern=r"NIXL_ERR_(?!REMOTE_DISCONNECT)\w+|NIXL transfer failure: \w*handshake_failed",
    strength=HINT,
)
