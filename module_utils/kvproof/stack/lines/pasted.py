# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wordings that only pasted text is searched for, beside those that a node's log is read by.

They are of other releases, of the controller, and of what LMCache stands on: NIXL, UCX, Redis and Python.  A pasted
line may have lost its head, or be two that became one, so it may be of several kinds.
"""

import re
from functools import lru_cache
from typing import Tuple

from . import LMCACHE, OTHERS, Pattern
from .inprocess_p2p import ADDRESS_IN_USE, ADDRESS_NOT_OURS, LAYOUT

WORDINGS = [
    # the operating system's, in whatever process; LMCache's P2P, its controller, NIXL's side channel and vLLM bind
    *(("address_in_use", text, text) for text in (*ADDRESS_IN_USE, "ddress is already in use", "EADDRINUSE")),
    *(("address_not_ours", text, text) for text in (ADDRESS_NOT_OURS, "EADDRNOTAVAIL")),
    # LMCache 0.5.6 rpc/zmq_transport.py
    ("rank_silent", "recreating all sockets", r"Timeout occurred for rank [1-9]\d*, recreating all sockets"),
    # LMCache 0.5.6 lookup_client, and its older forms
    ("lookup_late", "time", r"async lookup time(?:d )?out|batched_async_contains time(?:d )?out"),
    # the receiver's log, and the controller's /lookup
    ("lookup_empty", LAYOUT, re.escape(LAYOUT) + r" \(''"),
    ("lookup_empty", "layout_info", r"[\"']?layout_info[\"']?\s*:\s*\{\s*\}"),
    # LMCache 0.5.6 memory_management.py, pd_backend.py
    ("no_memory", "memory", r"Failed to allocate memory (?:block|obj)|because no memory is available"),
    # vLLM and LMCache at start, without PYTHONHASHSEED
    (
        "seed_needed",
        "PYTHONHASHSEED",
        r"(?:P/D Disaggregation|Centralized cache sharing) detected\s+but PYTHONHASHSEED not set",
    ),
    (
        "seed_random",
        "HASH",
        r"builtin hash without PYTHONHASHSEED set|random per-process NONE_HASH seed|PYTHONHASHSEED is not set",
    ),
    # LMCache 0.5.6 p2p_backend.py: the holder does not know the receiver
    ("peer_forgotten", "REMOTE_XFER", r"REMOTE_XFER_HANDLER_NOT_INITIALIZED"),
    # LMCache 0.5.6 cache_controller/controller_manager.py
    ("worker_late", "last heartbeat", r"Worker \S+ last heartbeat time: .*more than \d+ seconds"),
    # LMCache 0.5.6 multiprocess/modules/lookup.py
    (
        "engine_unknown",
        "GPU context",
        r"No (?:registered )?GPU context (?:found|registered) for (?:model|instance)",
    ),
    # one port of a list for each rank
    (
        "port_index",
        "ndex",
        r"IndexError.{0,300}\b\w{1,60}_ports?\b|\b\w{1,60}_ports?\b.{0,300}(?:IndexError|index out of range)",
    ),
    # vLLM 0.32 nixl/base_worker.py, NIXL
    (
        "nixl_handshake_failed",
        "",
        r"(?i:nixl.{0,200}handshake.{0,200}(?:fail|time|refus|error)|handshake_(?:setup_)?failed"
        r"|fail.{0,200}nixl.{0,200}handshake)",
    ),
    (
        "nixl_failed",
        "NIXL",
        r"NIXL_ERR_(?!REMOTE_DISCONNECT)\w+|NIXL transfer failure: \w*handshake_failed",
    ),
    ("nixl_metadata", "loadRemoteMD", r"loadRemoteMD"),
    ("nixl_backend_failed", "NIXL_ERR_BACKEND", r"NIXL_ERR_BACKEND"),
    ("nixl_disconnected", "NIXL_ERR_REMOTE_DISCONNECT", r"NIXL_ERR_REMOTE_DISCONNECT"),
    (
        "ucx_failed",
        "UCX",
        r"UCX\s+ERROR.{0,300}(?i:endpoint timeout|unreachable|no (?:usable|active) transports?|flushed error|no route"
        r"|not available|transport retry (?:count|counter) exceeded)|Unexpected UCX error: Endpoint timeout",
    ),
    ("ucx_transport_missing", "UCX", r"UCX\s+WARN\s+transports? .*not available"),
    # Redis, as the P2P of LMCache before 0.3.7 used it
    ("redis_refused", "'del' command", r"wrong number of arguments for 'del' command"),
    # what ends a process; others then only tell of it
    ("process_ended", "", r"EngineDeadError|\bKilled\b|SIGKILL|SIGTERM|out of memory|\bOOM\b"),
]
#: A lookup in any release's words: tokens of the prompt, computed by vLLM, found by LMCache, to be loaded.
LOOKUPS = (
    re.compile(
        r"Total tokens:? (?P<total>\d+)(?:, Inference Engine computed tokens: (?P<computed>\d+))?,? "
        r"LMCache hit tokens: (?P<hit>\d+)(?:, (?:but )?need to load: (?P<need>-?\d+))?"
    ),
    re.compile(r"(?:LMCache )?hit tokens: (?P<hit>\d+)"),
)
_PATTERNS = [*LMCACHE, *OTHERS, *(Pattern(*wording) for wording in WORDINGS)]


@lru_cache(maxsize=256)  # a text of very many short lines has many of them more than once
def kinds(text: str) -> Tuple[str, ...]:
    """Every kind of line that a text has the words of."""
    return tuple(pattern.kind for pattern in _PATTERNS if pattern.search(text))
