# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ...stack.versions import LMCACHE, release, unread
from .. import pasted as texts
from ..attempt import REUSED
from . import CERTAIN, HINT, LIKELY, Attempt, Case, Finding, Sighting, Sightings

FIRST = (0, 3, 11)  # LMCache's release that brought it

FINDING = Finding(
    slug="tensor-parallel-p2p",
    link=4,
    kind="cause",
    rank=35,
    title="P2P sharing does not work on more than one rank",
    meaning=(
        "Since 0.3.11 the controller answers a lookup without regard to the asking rank. Ranks above 0 ask the "
        "peer's rank 0 for keys that it does not have, and a lookup counts only what all ranks have found: nothing."
    ),
    evidence="world_size in /meta or in the log of both nodes, and no reuse.",
    remedy="Run one rank per engine, or share KV through LMCache's multiprocess mode, which does not have this fault.",
    source="LMCache#2405; LMCache 0.5.6 kv_controller.py:424, the address does not depend on the worker",
    architectures=("inprocess_p2p",),
    covers=("peer-error", "partial-reuse"),
    cause_class="TP_P2P",
    cannot="Whether the first rank's transfer would work.",
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    sizes = [side.ranks for side in case.sides]
    several = sizes[0] == sizes[1] and (sizes[0] or 1) > 1
    p2p = case.receiver.flag("enable_p2p")
    if several and not (p2p is not None and not p2p.value) and not any(a.outcome in REUSED for a in attempts):
        yield Sighting(
            case.receiver.name,
            "world_size 1, or LMCache's multiprocess mode",
            f"world_size {sizes[1]} on both nodes",
            "every rank is sent to the peer's rank 0, which holds its own part of the KV only",
            strength=_affects(case.receiver.version("lmcache")),
        )


def _affects(version: str | None) -> str:
    """How sure it is that this release of LMCache has the fault: one that nobody has read may be cured of it."""
    if release(version) == (0,):
        return LIKELY
    return CERTAIN if release(version) >= FIRST and not unread(LMCACHE, version) else HINT


def pasted(material):
    ranks = material.degree("tensor-parallel-size")
    if not (ranks and ranks > 1 and material.is_on("enable_p2p")) or material.peers_found:
        return
    affected = material.version_within("lmcache", FIRST, (0, 6))
    if affected is False or material.values("lookup_url"):
        return
    unknown = affected is None and material.versions.get("lmcache")
    text = f"enable_p2p: true, {ranks} or more ranks"
    yield texts.Sign(material.nodes[0].role, text, texts.HINT if unknown else texts.SETTING)
