# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..pasted import P2P, SETTING, Sign
from . import Attempt, Case, Finding, Sighting, Sightings, strength

FINDING = Finding(
    slug="local-cpu-off",
    link=4,
    kind="cause",
    rank=25,
    title="The holder keeps nothing in CPU memory to share",
    meaning=(
        "P2P serves chunks from the holder's CPU store. With local_cpu: false `Stored N` is still "
        "logged, but nothing is kept or announced."
    ),
    evidence="local_cpu in the holder's effective configuration, else in its LMCache YAML.",
    remedy="Set local_cpu: true and a max_local_cpu_size that holds the working set, restart the engine.",
    source="LMCache 0.5.6",
    architectures=("inprocess_p2p",),
    covers=("not-announced",),
    cause_class="LOCAL_CPU_OFF",
    cannot="Whether the engine really runs with it, unless its own log says so.",
    compares=P2P,
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    local_cpu = case.holder.flag("local_cpu")
    if local_cpu is not None and not local_cpu.value:
        yield Sighting(
            case.holder.name,
            "local_cpu: true",
            f"local_cpu: {local_cpu}",
            "stored chunks are neither kept for peers nor announced",
            strength=strength(local_cpu),
        )


def pasted(material):
    if material.is_on("enable_p2p") and material.is_off("local_cpu") and not material.peers_found:
        yield Sign(material.nodes[0].role, "enable_p2p: true, local_cpu: false", SETTING)
