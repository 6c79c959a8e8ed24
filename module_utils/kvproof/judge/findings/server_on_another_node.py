# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..pasted import HINT, UNSET, Sign
from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="server-on-another-node",
    link=3,
    kind="cause",
    title="The engine's LMCache server may be on another machine",
    meaning="Engine and server share GPU memory, so the server must run on the engine's own machine.",
    evidence="lmcache.mp.host in the connector's configuration, against the node's addresses.",
    remedy="One lmcache server per node; share between nodes by its P2P and the coordinator (LMCache 0.5.0 and later).",
    source="LMCache#3618",
    cause_class="TOPOLOGY",
    cannot="Whether that address is the engine's own machine.",
    architectures=("mp",),
)


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    for side in case.sides:
        wanted = (side.node.get("cache_server") or {}).get("wanted") or {}
        if wanted.get("ours") is False:
            yield Sighting(
                side.name,
                "an address of this node in lmcache.mp.host",
                f"lmcache.mp.host: {wanted.get('host')}",
                "engine and server do not share memory",
            )


def pasted(material):
    for node in material.nodes:
        for value in node.stated.settings.get("mp.host", []):
            if value != UNSET and not str(value).rsplit("://", 1)[-1].startswith(("localhost", "127.", "0.0.0.0")):
                yield Sign(node.role, f"lmcache.mp.host: {value}", HINT)
