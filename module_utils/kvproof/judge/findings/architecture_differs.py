# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ...stack import architectures
from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="architecture-differs",
    link=4,
    kind="validity",
    rank=1,
    voids=True,
    title="The engines do not share KV in the way that was tried",
    meaning=(
        "KV goes from one engine to the other only where both share it in the same way, and an experiment proves that "
        "way alone. Nothing is proven and nothing fails where the engines are something else."
    ),
    evidence="vLLM's --kv-transfer-config and LMCache's enable_pd of both nodes, against kv_reuse_architecture.",
    remedy="Start both engines with the same connector, or correct kv_reuse_architecture (auto: as the nodes say).",
    source="LMCache 0.5.6 config.py:761; vLLM 0.32",
    covers=("requests-withheld", "experiment-incomplete", "reuse-absent", "controls-unread"),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    if case.architecture not in architectures.ARCHITECTURES or any(a.outcome == "proven" for a in attempts):
        return
    recognised = {side: architectures.of_node(side.node) for side in case.sides}
    for side, known in recognised.items():
        expected = (side.engine.get("recognised") or {}).get("architecture") or case.architecture
        if known.name and known.name != expected and not known.unsure:
            yield Sighting(
                side.name,
                f"an engine of {architectures.IN_WORDS.get(expected, expected)}",
                f"{architectures.IN_WORDS[known.name]} (--kv-transfer-config: {known.connector})",
                "the requests of one way to share KV prove nothing of another",
            )
    names = [known.name for known in recognised.values()]
    if None not in names and names[0] != names[1] and not any(known.unsure for known in recognised.values()):
        yield Sighting(
            case.receiver.name,
            f"{architectures.IN_WORDS[names[0]]}, as on {case.holder}",
            architectures.IN_WORDS[names[1]],
            "the two engines have no way to share KV",
        )
