# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import SETTING, Sign, Signature


def look(material):
    if material.is_on("enable_p2p") and material.is_off("local_cpu") and not material.peers_found:
        yield Sign(material.told[0].role, "enable_p2p: true, local_cpu: false", SETTING)


SIGNATURE = Signature(
    slug="local-cpu-off",
    cause_class="LOCAL_CPU_OFF",
    title="Nothing is kept in CPU memory to share",
    proves="P2P serves chunks from the holder's CPU memory. With local_cpu: false nothing is kept there or announced.",
    cannot="Whether the engine really runs with it, unless its own log says so.",
    remedy="Set local_cpu: true and a max_local_cpu_size that holds the working set, restart the engine.",
    source="LMCache 0.5.6 p2p_backend.py, local_cpu_backend.py",
    look=look,
)
