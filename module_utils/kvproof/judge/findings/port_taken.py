# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ...stack.architectures import NIXL_PD
from ..pasted import Line
from . import Attempt, Case, Finding, Sighting, Sightings

IN_USE = "ddress already in use"

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
    explains=frozenset(["engine-down", "withheld"]),
    covers=("engine-unreachable", "engine-errors", "process-unreadable", "experiment-incomplete", "requests-withheld"),
    pasted=Line("address_in_use"),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    """vLLM waits for good for the side channel of its NixlConnector, where another process has its port."""
    if case.architecture != NIXL_PD:
        return  # LMCache goes on without a port: p2p-bind-failed, pd-port-not-held, lmcache-degraded
    for side in case.sides:
        taken = [event for event in side.head("bind_failed") if IN_USE in (event.get("text") or "")]
        if taken and side.engine.get("reachable") is False:
            yield Sighting(
                side.name,
                "a side channel of its own (VLLM_NIXL_SIDE_CHANNEL_PORT)",
                str(taken[-1]["text"]),
                "the engine waits for it for good, and its API does not come up",
            )
