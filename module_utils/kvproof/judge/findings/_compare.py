# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared by findings that compare one setting of the two nodes."""

from __future__ import annotations

from ...stack.architectures import MP
from . import Sighting, strength

#: What the cache servers of the multiprocess mode call these settings.
OPTIONS = {"chunk_size": "--chunk-size", "pre_caching_hash_algorithm": "--hash-algorithm"}


def differing_setting(case, key: str, reason: str):
    """A Sighting on the receiver when both nodes' values of a key are known and differ."""
    holder, receiver = (side.setting(key) for side in case.sides)
    if holder is not None and receiver is not None and holder.value != receiver.value:
        option = OPTIONS.get(key) if case.architecture == MP else None
        yield Sighting(
            case.receiver.name,
            f"{option or key}: {holder.value}, as on {case.holder}",
            f"{option or key}: {receiver}",
            reason,
            f"Start every lmcache server and the coordinator with the same {option}, then the engines."
            if option
            else None,
            strength=strength(holder, receiver),
        )
