# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re

from ..read import UNSET
from . import HINT, PROOF, Sign, Signature, matching

NAME = "VLLM_NIXL_SIDE_CHANNEL_HOST"
NOT_REACHED = ("localhost", "127.0.0.1", "::1", "0.0.0.0", UNSET)
HANDSHAKE = (
    r"engine ID mismatch|(?i:nixl.*handshake.*(?:fail|time|refus|error)"
    r"|handshake_(?:setup_)?failed|fail\w*.*nixl.*handshake)"
)
METADATA_CAME = r"loadRemoteMD|NIXL_ERR_BACKEND"  # then the other side was reached


def look(material):
    host = material.env(NAME)
    local = host is not None and (host in NOT_REACHED or host.startswith("127."))
    sure = local and not re.search(METADATA_CAME, material.text)
    for role, line in matching(material, HANDSHAKE):
        if "mismatch" in line or local:
            yield Sign(role, f"{line}; {NAME}: {host or 'not told'}", PROOF if sure else HINT)


SIGNATURE = Signature(
    slug="side-channel-host",
    cause_class="BIND_HOST",
    title="The NIXL handshake reached another engine than the one meant, or none",
    proves=(
        "The engine that answered is not the one whose id was expected. With the side channel's host left at "
        "localhost, its default, every decode engine asks its own node."
    ),
    cannot=(
        "Without the value of VLLM_NIXL_SIDE_CHANNEL_HOST: whether it is that, a port shared by two engines, or "
        "an engine that was restarted."
    ),
    remedy="Set VLLM_NIXL_SIDE_CHANNEL_HOST on every engine to its own address, as its peers reach it.",
    source="vLLM 0.32 envs.py (default localhost), nixl/base_worker.py; vllm#27083",
    look=look,
)
