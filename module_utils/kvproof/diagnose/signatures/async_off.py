# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import HINT, SETTING, Sign, Signature


def look(material):
    if not (material.is_on("enable_p2p") and material.is_off("enable_async_loading")) or material.peers_found:
        return
    affected = material.version_within("lmcache", (0, 3, 7), (99,))
    if affected is not False and not material.values("lookup_url"):
        sure = affected or not material.versions.get("lmcache")
        yield Sign(material.told[-1].role, "enable_p2p: true, enable_async_loading: false", SETTING if sure else HINT)


SIGNATURE = Signature(
    slug="async-off",
    cause_class="ASYNC_OFF",
    title="Asynchronous loading is off, so peers are never asked",
    proves=(
        "Only the asynchronous lookup reaches the controller; the other one always answers that no peer has anything."
    ),
    cannot="Whether the engine really runs with it, unless its own log says so.",
    remedy=(
        "Set enable_async_loading: true on every node that fetches (LMCache 0.3.9.post2 or later), restart the engine."
    ),
    source="LMCache 0.5.6 p2p_backend.py: contains() returns False; LMCache#1791",
    look=look,
)
