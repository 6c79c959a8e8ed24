# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Finding, Sighting


def look(case, attempts):
    lost = [a for a in attempts if a.outcome == "timed-out"]
    if lost:
        yield Sighting(
            case.receiver.name,
            "every lookup answered in time",
            f"{len(lost)} of {len(attempts)} fresh prompts lost to the lookup time-out",
            "the controller's or the peer's answer did not arrive in time",
        )


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
    evidence=("`still waiting for async lookup` in the log of the receiver, or an answer no sooner than the time-out."),
    remedy=(
        "If it is often: check the controller's load and the network; an LMCache release that "
        "repairs the request socket; raise lookup_timeout_ms only if lookups are slow."
    ),
    source="LMCache 0.5.6 lmcache_async_lookup_client.py:177",
    look=look,
    covers=("reuse-absent",),
)
