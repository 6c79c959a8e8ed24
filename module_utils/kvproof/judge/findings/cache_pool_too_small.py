# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ...stack import mp
from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="cache-pool-too-small",
    link=7,
    kind="cause",
    rank=5,
    title="The cache server's memory has no room",
    meaning="--l1-size-gb is below what the prompts in flight need: chunks are dropped before a peer asks for them.",
    evidence="Chunks written and dropped by the holder's server during the seed, and its memory in /status.",
    remedy="Start the lmcache server with a larger --l1-size-gb: several of your longest prompts.",
    source="LMCache 0.5.6 distributed/config.py:805",
    architectures=("mp",),
    covers=("nothing-stored", "not-announced"),
)

FULL = 0.8  # of L1, where the server begins to drop (trigger_watermark)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    server = case.holder.server
    total, used = server.get("l1_total_bytes"), server.get("l1_used_bytes")
    dropped = sum((trial.get("window") or {}).get("holder_server", {}).get(mp.EVICTED) or 0 for trial in case.trials)
    short = [a for a in attempts if a.expected and a.stored is not None and a.stored < a.expected]
    if total and (dropped or (short and used is not None and used >= FULL * total)):
        yield Sighting(
            case.holder.name,
            f"room for {(short or attempts)[0].expected} tokens",
            f"L1 of {total // 2**20} MB, {int(dropped)} chunks dropped during the seeds",
            "what was stored may be gone when a peer asks",
        )
