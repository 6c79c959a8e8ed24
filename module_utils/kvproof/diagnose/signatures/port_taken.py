# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Signature

SIGNATURE = Signature(
    slug="port-taken",
    cause_class="PORT_COLLISION",
    title="A port or socket is already in use",
    proves="This process could not bind an address, because another process has it.",
    cannot="Which process has it, and whether the engine went on without.",
    remedy=(
        "Give every engine, rank and controller on a host ports of its own (p2p_*_ports, lmcache_worker_ports, "
        "lmcache_rpc_port, the NIXL side channel), or end the process that has the port."
    ),
    source="errno EADDRINUSE; LMCache#961",
    pattern=r"[Aa]ddress (?:is )?already in use|EADDRINUSE",
)
