# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re

from ..pasted import FORMAT
from . import Attempt, Case, Finding, Sighting, Sightings

FINDING = Finding(
    slug="kv-format-differs",
    link=4,
    kind="cause",
    rank=34,
    title="The KV formats of the two nodes differ",
    meaning=(
        "dtype, shape and world size are part of the key or of the memory layout; chunks of "
        "another format are not found or not usable."
    ),
    evidence="kv_dtype, kv_shape (without the chunk size), world_size and use_mla in /meta or in the log.",
    remedy="Run both engines with the same dtype, kv-cache-dtype and tensor-parallel size.",
    source="LMCache 0.5.6 /meta",
    covers=("peer-error",),
    cause_class="KEY_MISMATCH",
    compares=FORMAT,
)


FIELDS = ("kv_dtype", "world_size", "use_mla", "kv_shape")


def look(case: Case, attempts: list[Attempt]) -> Sightings:
    for field in FIELDS:
        holder, receiver = (_value(side.meta(field), field) for side in case.sides)
        if holder is not None and receiver is not None and holder != receiver:
            yield Sighting(
                case.receiver.name,
                f"{field} {holder}, as on {case.holder}",
                f"{field} {receiver}",
                "chunks of another format cannot be shared",
            )


def _value(value, field):
    """A value as the internal API and the log tell it alike."""
    if value is None:
        return None
    if field == "kv_shape":
        shape = [int(number) for number in re.findall(r"\d+", str(value))]
        return [*shape[:2], *shape[3:]] if len(shape) == 5 else shape  # the third number is the chunk size
    return str(value).rpartition("torch.")[2]
