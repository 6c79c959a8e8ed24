# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Finding, Sighting


def look(case, attempts):
    failed = [a for a in attempts if a.outcome == "load-failed"]
    if failed and len(failed) == len(attempts):
        yield Sighting(
            case.receiver.name,
            f"Retrieved {failed[0].need} tokens",
            "no Retrieved line",
            "found at lookup, lost at load",
        )


FINDING = Finding(
    slug="load-failed",
    link=11,
    kind="failure",
    rank=10,
    title="KV was found but not loaded",
    meaning=("The lookup reported a hit, and then nothing was loaded: the engine recomputed, or the request failed."),
    evidence="`LMCache hit tokens` above 0 without `Retrieved` for the same request.",
    remedy=(
        "Look for an LMCache ERROR between these lines; check the CPU pool's size (`under "
        "pressure`) and kv_load_failure_policy."
    ),
    source="LMCache#1055",
    look=look,
    covers=("reuse-absent",),
)
