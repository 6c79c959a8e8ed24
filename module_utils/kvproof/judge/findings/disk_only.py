# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..pasted import Sign
from . import Finding

FINDING = Finding(
    slug="disk-only",
    link=9,
    kind="cause",
    title="The index of LMCache's old P2P fails when chunks move to disk",
    meaning=(
        "The P2P of LMCache before 0.3.7 asks Redis to delete an empty list of keys, which Redis refuses, when "
        "chunks leave the CPU for the disk. Peers cannot fetch from a disk, then or now."
    ),
    evidence="Redis' `wrong number of arguments for 'del' command` where enable_p2p is set.",
    remedy=(
        "Upgrade LMCache; keep the working set in CPU memory (local_cpu: true, max_local_cpu_size), and share "
        "disks by a remote backend."
    ),
    source="LMCache#1228; in 0.5.6 p2p_backend.py:413 asks the CPU backend alone",
    cause_class="DISK_NOT_P2P",
    cannot="Whether a prompt was still in memory when it was asked for.",
)


def pasted(material):
    if material.is_on("enable_p2p"):
        for role, line in material.lines("redis_refused"):
            yield Sign(role, line)
