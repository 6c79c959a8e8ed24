# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="process-unreadable",
    link=2,
    kind="note",
    rank=95,
    title="The engine's process could not be looked into",
    meaning=(
        "The SSH user may not read the engine's environment or open files, or it is not shown which of this host's "
        "processes is the engine, so some facts are unknown. That breaks nothing."
    ),
    evidence="What /proc showed to this user.",
    remedy=(
        "Set kv_reuse_become: true, or kv_reuse_log and kv_reuse_config_file, if you want these facts. An engine in a "
        "container is recognised by its address in kv_reuse_url, by answering at a published port, or by its log."
    ),
    source="kvproof",
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    for side in case.sides:
        engine = side.node.get("engine") or {}
        if engine.get("unseen"):
            yield Sighting(
                side.name,
                "a readable process",
                "not readable: " + ", ".join(engine["unseen"]),
                "another user's process, or one that nothing shows to be this engine's",
            )
