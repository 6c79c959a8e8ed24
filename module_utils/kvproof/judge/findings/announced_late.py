# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings

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
    covers=("reuse-absent",),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    rise = late_rise(case, attempts)
    if rise:
        yield Sighting(
            case.holder.name,
            "a key_count that rises within the waiting time",
            f"it had risen by {rise} when the run was over",
            "the reuse was sent before the receiver could learn of the chunks",
        )


def late_rise(case, attempts) -> int | None:
    """Rise of the holder's key count over the run where no reuse saw it in time, and all missed; else None.

    It counts when it is at least the chunks of all seeds: the warm-up alone cannot have made it.
    """
    missed = attempts and all(a.outcome == "missed" and a.announced is False and a.expected for a in attempts)
    chunk = case.chunk_size()
    before = _key_count(case.probe.get("controller"), case.holder.instance_id)
    after = _key_count(_after(case), case.holder.instance_id)
    if before is None or after is None or not missed or not chunk:
        return None
    if case.holder.instance_id == case.receiver.instance_id:
        return None
    rise = after - before
    return rise if rise >= sum(a.expected // chunk for a in attempts) else None


def _after(case) -> dict | None:
    """The controller as it was seen on its host, which is asked when the probe is over."""
    named = [c for c in case.evidence.get("controllers") or [] if c and c.get("workers") is not None]
    return named[0] if named else None


def _key_count(controller: dict | None, instance_id: str | None) -> int | None:
    workers = (controller or {}).get("workers") or []
    mine = [w.get("key_count") for w in workers if instance_id and w.get("instance_id") == instance_id]
    return min(mine) if mine and None not in mine else None
