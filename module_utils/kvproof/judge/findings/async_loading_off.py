# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..pasted import HINT, P2P, SETTING, Sign
from . import Attempt, Case, Finding, Sighting, Sightings, strength

FINDING = Finding(
    slug="async-loading-off",
    link=4,
    kind="cause",
    rank=20,
    title="Asynchronous loading is off, so P2P is never asked",
    meaning=(
        "Only the asynchronous lookup reaches the controller; with enable_async_loading: false "
        "the P2P backend always answers no."
    ),
    evidence="enable_async_loading in the effective configuration, else in the LMCache YAML.",
    remedy=(
        "Set enable_async_loading: true on every node that should fetch KV (LMCache 0.3.9.post2 or later), restart the "
        "engine."
    ),
    source="LMCache 0.5.6 p2p_backend.py:752; LMCache#1791",
    architectures=("inprocess_p2p",),
    explains=frozenset(["missed", "slow"]),  # without a lookup there is no time-out
    cause_class="ASYNC_OFF",
    cannot="Whether the engine really runs with it, unless its own log says so.",
    compares=P2P,
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    loading, p2p = case.receiver.flag("enable_async_loading"), case.receiver.flag("enable_p2p")
    if loading is not None and not loading.value and not (p2p is not None and not p2p.value):
        yield Sighting(
            case.receiver.name,
            "enable_async_loading: true",
            f"enable_async_loading: {loading}",
            "the receiver's lookup never reaches the controller",
            strength=strength(loading),
        )


def pasted(material):
    if not (material.is_on("enable_p2p") and material.is_off("enable_async_loading")) or material.peers_found:
        return
    affected = material.version_within("lmcache", (0, 3, 7), (99,))
    if affected is not False and not material.values("lookup_url"):
        sure = affected or not material.versions.get("lmcache")
        yield Sign(material.nodes[-1].role, "enable_p2p: true, enable_async_loading: false", SETTING if sure else HINT)
