# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..pasted import FORMAT
from . import CERTAIN, LIKELY, Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="model-path-differs",
    link=4,
    kind="cause",
    rank=33,
    title="The model has another name or path on the two nodes",
    meaning=(
        "The model's name is part of every chunk key, as it was given to --model. The same "
        "weights under another path never match."
    ),
    evidence="model_name in /meta of both nodes, else `root` in /v1/models.",
    remedy="Start all engines with the same --model string; use --served-model-name for the public name.",
    source="LMCache 0.5.6; the peer answers P2P_SERVER_ERROR",
    explains=frozenset(["missed", "timed-out", "slow"]),
    covers=("peer-error",),
    cause_class="KEY_MISMATCH",
    compares=FORMAT,
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    inside = [side.meta("model_name") for side in case.sides]
    outside = [side.engine.get("model_root") for side in case.sides]
    names, weight = (inside, CERTAIN) if None not in inside else (outside, LIKELY)
    if None not in names and names[0] != names[1]:
        yield Sighting(
            case.receiver.name,
            f"{names[0]}, as on {case.holder}",
            str(names[1]),
            "the model's name is part of every chunk key",
            strength=weight,
        )
