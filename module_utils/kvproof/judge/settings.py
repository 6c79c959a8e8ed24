# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of both engines beside each other, as far as they were seen of either."""

from __future__ import annotations

from typing import Any

from .case import Case
from .side import Side

#: Those that have to be alike for a chunk of the one to be a chunk of the other.
ALIKE = ("vllm", "lmcache", "model_name", "kv_dtype", "kv_shape", "world_size", "chunk_size")
ALIKE_OF_LMCACHE = ("pre_caching_hash_algorithm", "NONE_HASH", "enable_p2p", "enable_async_loading", "enable_pd")
#: Those that each engine has for itself.
OWN = ("lmcache_instance_id", "p2p_host", "pd_role", "local_cpu", "max_local_cpu_size", "remote_url")


def side_by_side(case: Case) -> list[dict[str, Any]]:
    """Each with ``setting``, ``holder`` and ``receiver`` (text, None: not seen) and ``differs``: True where they should
    be alike and are not, None where that cannot be said.  Without those that nobody saw."""
    rows = []
    for name in (*ALIKE, *ALIKE_OF_LMCACHE, *OWN):
        values = [_value(side, name) for side in case.sides]
        if values == [None, None]:
            continue
        comparable = name not in OWN and None not in values
        holder, receiver = (None if value is None else str(value)[:200] for value in values)
        differs = holder != receiver if comparable else None
        rows.append({"setting": name, "holder": holder, "receiver": receiver, "differs": differs})
    return rows


def _value(side: Side, name: str) -> Any:
    if name in ("vllm", "lmcache"):
        return side.version(name)
    if name == "NONE_HASH":
        return side.none_hash
    if name == "lmcache_instance_id":
        return side.instance_id
    known = side.setting(name)
    return known.value if known is not None else side.meta(name)
