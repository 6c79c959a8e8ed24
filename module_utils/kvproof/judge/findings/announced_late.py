# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..outcomes import announced_late
from . import Finding, Sighting


def look(case, attempts):
    rise = announced_late(case, attempts)
    if rise:
        yield Sighting(
            case.holder.name,
            "a key_count that rises within the waiting time",
            f"it had risen by {rise} when the run was over",
            "the reuse was sent before the receiver could learn of the chunks",
        )


FINDING = Finding(
    slug="announced-late",
    link=8,
    kind="validity",
    rank=20,
    title="The chunks were announced only after the wait",
    meaning=(
        "The holder's chunks reached the controller, but later than the probe waits, so the receiver could not find "
        "them: a slow machine, or a queue of other announcements."
    ),
    evidence="key_count of the holder in /controller/workers before the run and after it.",
    remedy="Raise kv_reuse_wait, and look at the load of the holder and of the controller.",
    source="kvproof",
    look=look,
    covers=("reuse-absent",),
)
