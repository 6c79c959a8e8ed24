# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..pasted import HINT, SETTING, Sign, is_given
from . import Finding

FINDING = Finding(
    slug="legacy-p2p",
    link=4,
    kind="cause",
    title="P2P is set up as in old releases of LMCache",
    meaning=(
        "lookup_url and distributed_url belong to the P2P over Redis that ended with LMCache 0.3.7; later ones "
        "ignore them and want p2p_host, p2p_init_ports, p2p_lookup_ports and a controller."
    ),
    evidence="lookup_url or distributed_url beside enable_p2p, and the version of LMCache.",
    remedy="Set P2P up as LMCache's current p2p_sharing page has it.",
    source="LMCache 0.5.6 v1/config.py has neither key",
    cause_class="LEGACY_P2P",
    cannot="With an older LMCache, or an unknown one: what is wrong in it.",
)

KEYS = ("lookup_url", "distributed_url")


def pasted(material):
    keys = [key for key in KEYS if is_given(material.values(key))]
    if not (keys and material.is_on("enable_p2p")):
        return
    newer = material.version_within("lmcache", (0, 3, 7), (99,))
    yield Sign(material.nodes[0].role, f"enable_p2p: true with {', '.join(keys)}", SETTING if newer else HINT)
