# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="tunnel-failed",
    link=1,
    kind="validity",
    rank=15,
    title="There is no SSH tunnel to the engine",
    meaning=(
        "kv_reuse_transport is ssh, and the machine that runs the playbook could not log in to the node, was not "
        "allowed to forward, or lost the connection. That says nothing about the engine."
    ),
    evidence=(
        "The SSH connection of the probe: name, port, host key, login, and the channel to the engine's port. A channel "
        "that the node opened in vain is engine-unreachable instead."
    ),
    remedy=(
        "Do what the observation says; `ssh -v -W 127.0.0.1:8000 NODE` with Ansible's arguments shows the same steps. "
        "sshd needs AllowTcpForwarding yes or local."
    ),
    source="kvproof; RFC 4254, section 7.2",
    covers=("experiment-incomplete", "metrics-missing", "reuse-absent"),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    for side in case.sides:
        requests = [r["error"] for r in case.requests() if r.get("engine") == side.role and r.get("error")]
        shut = [e for e in (side.engine.get("error"), *requests) if e and e.get("kind") == "ssh"]
        if shut:
            yield Sighting(
                side.name,
                f"an SSH tunnel to {side.engine.get('url')}",
                str(shut[0].get("text")),
                "nothing can be asked of this engine without it; whether the engine works is not known",
            )
