# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wordings of LMCache's server, which the multiprocess mode has beside the engines, and of its connector in the engine
(0.5.6)."""

LMCACHE = [
    # how many keys this server had itself (L1) and how many an L2 adapter, a peer among them, gave it; of every rank
    (
        "prefetched",
        "Prefetch request completed (L1+L2): ",
        r"(?<!\d)(?P<kept>\d+)/(?P<asked>\d+) retained keys \((?P<l1>\d+) L1, (?P<l2>\d+) L2\)"
        r".*external_request_id=(?P<id>[^\s,)]+)",
    ),
    # multiprocess/modules/engine_driven_transfer.py:447; names no request
    ("server_stored", "Stored ", r"^Stored (?P<tokens>\d+) tokens in [\d.]+ seconds"),
    # mp_coordinator/registrar.py:135 and 154
    ("coordinator_met", "Registered with coordinator as ", r"Registered with coordinator as (?P<instance>\S+)"),
    (
        "coordinator_lost",
        "Coordinator registration/heartbeat failed",
        r"Coordinator registration/heartbeat failed: (?P<text>.*)",
    ),
    # integration/vllm/vllm_multi_process_adapter.py:1415, 614 and 599: the engine's log
    (
        "mp_adapter",
        "LMCache MP worker adapter created with instance_id=",
        r"created with instance_id=(?P<instance>\d+)",
    ),
    ("server_lost", "LMCache server is unhealthy", r"LMCache server is unhealthy"),
    ("server_back", "LMCache server is healthy again", r"LMCache server is healthy again"),
]
STARTUP = ["mp_adapter"]
INTEGERS = ["kept", "asked", "l1", "l2"]
