# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import PROOF, Sign, Signature, matching


def look(material):
    for role, line in matching(material, r"wrong number of arguments for 'del' command"):
        if material.is_on("enable_p2p"):
            yield Sign(role, line, PROOF)


SIGNATURE = Signature(
    slug="disk-only",
    cause_class="DISK_NOT_P2P",
    title="The old P2P's index fails on what moved to disk",
    proves=(
        "The P2P of LMCache before 0.3.7 asks Redis to delete an empty list of keys, which Redis refuses, when "
        "chunks leave the CPU for the disk. Peers cannot fetch from a disk, then or now."
    ),
    cannot="Whether a prompt was still in memory when it was asked for.",
    remedy=(
        "Upgrade LMCache; keep the working set in CPU memory (local_cpu: true, max_local_cpu_size), and share "
        "disks by a remote backend."
    ),
    source="LMCache#1228; in 0.5.6 p2p_backend.py:413 asks the CPU backend alone",
    look=look,
)
