# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..pasted import Line
from . import Finding

FINDING = Finding(
    slug="port-taken",
    link=3,
    kind="cause",
    title="A port or socket is already in use",
    meaning="This process could not bind an address, because another process has it.",
    evidence="`Address already in use` or EADDRINUSE in any log.",
    remedy=(
        "Give every engine, rank and controller on a host ports of its own (p2p_*_ports, lmcache_worker_ports, "
        "lmcache_rpc_port, the NIXL side channel), or end the process that has the port."
    ),
    source="errno EADDRINUSE; LMCache#961",
    cause_class="PORT_COLLISION",
    cannot="Which process has it, and whether the engine went on without.",
    pasted=Line("address_in_use"),
)
