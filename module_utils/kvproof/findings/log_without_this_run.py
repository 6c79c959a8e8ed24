# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Finding, Sighting


def look(case, attempts):
    for side in case.sides:
        log = side.log
        if (
            side.log_readable
            and log.get("ids_missing")
            and not log.get("ids_found")
            and (log.get("levels") or {}).get("INFO")
        ):
            yield Sighting(
                side.name,
                "lines with this run's request ids",
                "none in what was searched",
                "this is not the log of the engine that answered",
            )


FINDING = Finding(
    slug="log-without-this-run",
    link=7,
    kind="note",
    rank=92,
    title="The log that was read does not show this run",
    meaning=(
        "The log is readable and talkative, but has no line of the probe's requests: another "
        "file, another engine, or rotated away."
    ),
    evidence="The ids of this run were not found in what was searched.",
    remedy="Point kv_reuse_log at the log of the engine behind kv_reuse_url.",
    source="kvproof",
    look=look,
    architectures=("inprocess_p2p",),
)
