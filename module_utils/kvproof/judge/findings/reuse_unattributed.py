# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="reuse-unattributed",
    link=6,
    kind="validity",
    rank=40,
    title="Reuse was seen, but not where it came from",
    meaning=(
        "Tokens were reused, and nothing that was read tells whether a peer sent them: P2P cannot "
        "be told from local reuse or a shared store."
    ),
    evidence="cached_tokens or external hits without the logs of holder or receiver.",
    remedy=(
        "Let kvproof read the engines' logs: kv_reuse_log, PREFILL_LOG_FILE and DECODE_LOG_FILE, or kv_reuse_become. "
        "Where any way is right as long as another engine made the KV, set kv_reuse_source: any."
    ),
    source="kvproof",
    covers=("reuse-absent",),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    unattributed = [a for a in attempts if a.outcome == "unattributed"]
    if unattributed and not any(a.outcome == "proven" for a in attempts):
        yield Sighting(
            case.receiver.name,
            f"a line that names the request in a log of {case.holder} or {case.receiver}",
            f"{unattributed[0].loaded} tokens reused, source unknown",
            "nothing that was read ties it to the holder; the receiver itself or another store may have answered",
        )
