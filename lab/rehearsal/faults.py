# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""Faults that no configuration makes, planted by LAB_FAULT or the parameter ``fault``.

listen-elsewhere      the P2P ports listen on LAB_NODE_ADDRESS, whatever p2p_host advertises
lookup-port-shut      nobody gets through to the lookup port: a firewall that lets the init port pass alone
process-closed        the process may be looked into by root alone
zero-keys-on-load     keys are zeroed while KV is loaded: counted as a hit, fast, and wrong
zero-kv-on-load       keys and values are
zero-chunk-on-load    the first chunk's keys are zeroed, the rest is well
swap-chunks-on-load   the chunks arrive in another order
load-fails            what was found cannot be loaded: the lookup reports the hit, the load gives nothing
peer-hangs            the holder takes a peer's request and never answers
keep-half             the holder announces the truth and gives half of it
keep-nothing          the holder announces the truth and has lost it when a peer asks
rank-stores-nothing   rank 1 of an engine in multiprocess mode leaves nothing to its cache server
announce-nothing      what is stored is never announced to the controller
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Callable

Chunks = list[array]
PR_SET_DUMPABLE = 4  # linux/prctl.h


def _zero_keys(chunks: Chunks) -> Chunks:
    return [array("Q", [entry & 0xFFFFFFFF for entry in chunk]) for chunk in chunks]


def _zero(chunks: Chunks) -> Chunks:
    return [array("Q", bytes(8 * len(chunk))) for chunk in chunks]


def _zero_first(chunks: Chunks) -> Chunks:
    return _zero_keys(chunks[:1]) + chunks[1:]


def _reversed(chunks: Chunks) -> Chunks:
    return chunks[::-1]


ON_LOAD: dict[str, Callable[[Chunks], Chunks]] = {
    "zero-keys-on-load": _zero_keys,
    "zero-kv-on-load": _zero,
    "zero-chunk-on-load": _zero_first,
    "swap-chunks-on-load": _reversed,
}
KEPT = {"keep-half": 0.5, "keep-nothing": 0.0}
NAMES = frozenset(ON_LOAD) | frozenset(KEPT) | {"listen-elsewhere", "lookup-port-shut", "process-closed", "load-fails",
                                                "peer-hangs", "announce-nothing", "rank-stores-nothing"}  # fmt: skip


def loaded(fault: str | None, chunks: Chunks) -> Chunks:
    """The chunks as a fault lets them arrive in the engine's own cache."""
    return ON_LOAD[fault](chunks) if fault in ON_LOAD else chunks


def close_process() -> None:
    """Shuts /proc/PID of this process to its own user, as it is to a login user who is another one."""
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def kept(fault: str | None, chunks: int) -> int:
    """How many of the chunks that a peer asks for the holder still has."""
    return int(chunks * KEPT.get(fault, 1.0))
