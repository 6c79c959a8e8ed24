# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="partial-reuse",
    link=11,
    kind="cause",
    rank=30,
    title="Only a part of the prefix was reused",
    meaning="Fewer chunks arrived than the holder stored: a full CPU pool evicts, or one rank of several has none.",
    evidence="`Retrieved` against the whole chunks of the common prefix.",
    remedy=(
        "Raise max_local_cpu_size on the nodes; with more than one rank per engine, see the finding "
        "tensor-parallel-p2p."
    ),
    source="LMCache 0.5.6",
    explains=frozenset([]),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    proven = [a for a in attempts if a.outcome == "proven" and a.loaded is not None]
    part = [a for a in proven if a.expected and (a.loaded or 0) < a.expected]
    if part:
        yield Sighting(
            case.receiver.name,
            f"{part[0].expected} tokens",
            f"{part[0].loaded} tokens",
            "some chunks were missing at the holder or did not arrive",
        )
