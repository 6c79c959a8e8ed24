# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import HINT, SETTING, Sign, Signature


def look(material):
    ranks = material.degree("tensor-parallel-size")
    if not (ranks and ranks > 1 and material.is_on("enable_p2p")) or material.peers_found:
        return
    affected = material.version_within("lmcache", (0, 3, 11), (0, 6))
    if affected is False or material.values("lookup_url"):
        return
    yield Sign(
        material.told[0].role,
        f"enable_p2p: true, {ranks} or more ranks",
        HINT if affected is None and material.versions.get("lmcache") else SETTING,
    )


SIGNATURE = Signature(
    slug="tensor-parallel-p2p",
    cause_class="TP_P2P",
    title="In-process P2P does not work with more than one rank",
    proves=(
        "Since LMCache 0.3.11 the controller names the same peer address to every rank, so all but the first "
        "fetch from the wrong one and recompute."
    ),
    cannot="Whether the first rank's transfer would work.",
    remedy="Use LMCache's multiprocess mode for tensor parallel engines, or one rank per engine.",
    source="LMCache 0.5.6 kv_controller.py:424: the address does not depend on the worker; LMCache#2405",
    look=look,
)
