# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..pasted import HINT, Line
from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="lookup-timed-out",
    link=9,
    kind="validity",
    rank=20,
    title="Lookups ran into their time-out",
    meaning=(
        "The receiver waited lookup_timeout_ms for an answer and went on without reuse. LMCache "
        "0.5.6 as shipped loses some replies on healthy clusters (one socket, two event loops), "
        "so single losses are no broken cluster, but users feel them as slow requests."
    ),
    evidence="`still waiting for async lookup` in the log of the receiver, or an answer no sooner than the time-out.",
    remedy=(
        "If it happens often, check the controller's load and the network, and use an LMCache release that repairs "
        "the request socket; raise lookup_timeout_ms only if lookups are slow."
    ),
    source="LMCache 0.5.6 lmcache_async_lookup_client.py:177",
    covers=("reuse-absent",),
    cause_class="ASYNC_TIMEOUT",
    cannot="Why: LMCache 0.5.6 loses some replies; an absent controller or an unreachable peer looks the same.",
    pasted=Line("lookup_timed_out", "lookup_late", strength=HINT),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    lost = [a for a in attempts if a.outcome == "timed-out"]
    slow = [a for a in attempts if a.outcome == "slow"]
    missed = [a for a in attempts if a.outcome == "missed" and a.disturbed]
    expected, host = "every lookup answered in time", case.receiver.name
    if lost:
        yield Sighting(
            host,
            expected,
            f"{len(lost)} of {len(attempts)} fresh prompts lost to the lookup time-out",
            "the controller's or the peer's answer did not arrive in time",
        )
    if slow:
        yield Sighting(
            host,
            expected,
            f"{len(slow)} of {len(attempts)} fresh prompts recomputed, and no sooner than the time-out",
            "a lost lookup and a slow engine look the same here: only the receiver's log tells them apart",
        )
    if missed and not lost:
        yield Sighting(
            host,
            expected,
            f"{len(missed)} of {len(attempts)} fresh prompts recomputed while another request ran into the time-out",
            "after a time-out LMCache 0.5.6 can give a lookup the answer to another one",
        )
