# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="peer-silent",
    link=10,
    kind="cause",
    rank=20,
    title="The holder was named and never got the request",
    meaning=(
        "The controller told the receiver where the chunks are, and no request reached the holder: another service "
        "has the port, something between them swallows the data, or the holder is stuck."
    ),
    evidence="Controller answers in the receiver's log, and a holder's log that covers the time and has no request.",
    remedy=(
        "On the holder, see which process listens at p2p_host and p2p_init_ports (`ss -ltnp`); take proxies and "
        "firewalls between the nodes out; restart the holder's engine if it is stuck."
    ),
    source="LMCache 0.5.6 p2p_backend.py:324",
    architectures=("inprocess_p2p",),
    explains=frozenset(["missed", "timed-out"]),
    covers=("lookup-timed-out",),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    unserved = [a for a in attempts if a.outcome in ("timed-out", "missed") and a.asked is False and _named(case, a)]
    if unserved and len(unserved) == len(attempts):
        peers = sorted({str(e.get("peer")) for a in unserved for e in a.layouts or [] if e.get("chunks")})
        yield Sighting(
            case.holder.name,
            f"the receiver's request at {case.holder}, which the controller named",
            f"{case.holder} was asked for none of {len(unserved)} fresh prompts",
            f"what answers at {', '.join(peers)} is not this engine's LMCache, or it does not answer",
        )


def _named(case, attempt) -> bool:
    return any(e.get("chunks") and case.holder.instance_id in (None, e.get("instance")) for e in attempt.layouts or [])
