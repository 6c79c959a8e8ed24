# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Finding, Sighting


def look(case, attempts):
    failed = [a for a in attempts if a.outcome == "load-failed"]
    if len(failed) >= 2 and len(failed) == len(attempts):
        yield Sighting(
            case.receiver.name,
            f"Retrieved {failed[0].need} tokens",
            f"Retrieved {failed[0].retrieved}",
            "found at lookup, lost at load",
        )


FINDING = Finding(
    slug="load-failed",
    link=11,
    kind="failure",
    rank=10,
    title="KV was found but not loaded",
    meaning=("The lookup reported a hit, and then nothing was loaded: the engine recomputed, or the request failed."),
    evidence="`LMCache hit tokens` above 0 and `Retrieved 0` for the same requests.",
    remedy=(
        "Look for an LMCache ERROR between these lines; check the CPU pool's size (`under "
        "pressure`) and kv_load_failure_policy."
    ),
    source="LMCache#1055",
    look=look,
    covers=("reuse-absent",),
)
