# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wordings of LMCache's in-process P2P, in the log of a vLLM engine.

Source: the logger calls of lmcache 0.5.6 (v1/cache_engine.py, v1/manager.py, v1/config*.py, v1/token_database.py,
v1/storage_backend/*.py, v1/cache_controller/worker.py, v1/lookup_client/*.py, integration/vllm/*.py), recordings of a
real cluster, and the older forms noted at each pattern.
"""

ID = r"(?P<id>[^\s,\]]+)"
COST = r"(?:.*? cost (?P<cost_ms>\d+(?:\.\d+)?) ms, throughput: (?P<gb_s>\d+(?:\.\d+)?) GB/s)?"
#: The operating system's words for an address that cannot be bound.
ADDRESS_NOT_OURS = "Cannot assign requested address"
ADDRESS_IN_USE = ("Address already in use", "address already in use")
#: Before what the controller answered to a lookup.
LAYOUT = "Got layout info from controller:"
#: Lines that LMCache's own logger writes: kind, a text that is in each, and the regular expression of its fields.
LMCACHE = [
    # 0.5.6; before 0.4.1 without the "Inference Engine" part
    (
        "below_min_retrieve",
        "but need to load:",
        r"Reqid: " + ID + r", Total tokens (?P<total>\d+)(?:, Inference Engine computed tokens: "
        r"(?P<computed>\d+))?, LMCache hit tokens: (?P<hit>\d+), but need to load: (?P<need>-?\d+)",
    ),
    (
        "looked_up",
        "LMCache hit tokens:",
        r"Reqid: " + ID + r", Total tokens (?P<total>\d+)(?:, Inference Engine computed tokens: "
        r"(?P<computed>\d+))?, LMCache hit tokens: (?P<hit>\d+), need to load: (?P<need>-?\d+)",
    ),
    # up to 0.3.15 without req_id
    (
        "stored",
        "Stored ",
        r"^(?:\[req_id=" + ID + r"\] )?Stored (?P<tokens>\d+) out of total (?P<total>\d+) tokens" + COST,
    ),
    # 0.5.6; layer-wise and 0.3.5: "Retrieved a out of b out of total c"
    (
        "retrieved",
        "Retrieved ",
        r"^(?:\[req_id=" + ID + r"\] )?Retrieved (?P<tokens>\d+) out of (?:total )?(?P<required>\d+)"
        r"(?: required tokens \(from| out of total) (?P<total>\d+)" + COST,
    ),
    (
        "responded",
        "Responding to scheduler for lookup id",
        r"lookup id " + ID + r" with retrieved length (?P<length>\d+)",
    ),
    ("peer_asked", "Received P2P batched lookup and get msg", r"lookup_id: " + ID),
    ("peer_error", "P2P error for lookup_id", r"lookup_id " + ID + r", error code: (?:P2PErrorCode\.)?(?P<code>\w+)"),
    ("peer_get_failed", "Error during P2P batched lookup and get operation", r"lookup_id " + ID + r": (?P<text>.*)"),
    ("peer_get_failed", "Error during P2P get operation", r"lookup_id " + ID + r": (?P<text>.*)"),
    ("peer_socket_error", "ZMQ error occurred for lookup_id", r"lookup_id " + ID + r"\. Error: (?P<text>.*)"),
    ("retry_exhausted", "Max retry count reached", r"lookup_id " + ID),
    ("ensure_peer_failed", "Failed to ensure peer connection", r"lookup_id " + ID + r": (?P<text>.*)"),
    ("handler_crashed", "Peer request handler crashed", r"crashed: (?P<text>.*)"),
    ("receiver_unknown", "does not exist in transfer channel", r"(?P<text>Receiver .*)"),
    (
        "lookup_timed_out",
        "is still waiting for async lookup",
        r"Request " + ID + r" is still waiting for async lookup after (?P<seconds>\d+) second",
    ),
    (
        "layout",
        LAYOUT,
        r"\('(?P<instance>[^']*)', '(?P<location>[^']*)', (?P<chunks>\d+), '(?P<peer>[^']*)'\)",
    ),
    ("controller_lookup_failed", "Controller returned error for batched P2P lookup", r"lookup: (?P<text>.*)"),
    (
        "peer_connected",
        "Established connection to peer_init_url",
        r"peer_init_url:? ?(?P<init>[^\s,]{1,300}?)[,.]? .{0,200}?peer_lookup_url:? ?(?P<lookup>\S{1,300})",
    ),
    ("transfer_finished", "P2P transfer finished for request", r"request (?P<n>\d+)"),
    ("unhealthy", "LMCache is unhealthy, skipping", r"skipping (?P<operation>\S+)"),
    ("lookup_server_error", "Error processing request from scheduler", r"scheduler: ?(?P<text>.*)"),
    # v1/storage_backend/remote_backend.py; name no request
    ("store_lost", "Remote connection failed in ", r"(?P<text>Remote connection failed in .*)"),
    ("store_lost", "Connection is None in ", r"(?P<text>Connection is None in \w+)"),
    ("store_lost", "Error occurred in batched_async_contains", r"(?P<text>Error occurred in batched_async_contains.*)"),
    ("store_lost", "batched_async_contains timed out", r"(?P<text>batched_async_contains timed out)"),
    ("store_lost", "Put task failed for key ", r"(?P<text>Put task failed) for key .*?: (?P<code>[^:]*)$"),
    ("store_lost", "batched put error: ", r"(?P<text>batched put error: .*)"),
    ("store_lost", "Failed to initialize/re-establish remote connection", r"(?P<text>Failed to initialize.*)"),
    ("memory_pressure", "ocal cpu memory", r"^(?P<text>.*ocal cpu memory (?:is )?under pressure.*)"),
    ("none_hash", "NONE_HASH=", r"NONE_HASH=(?P<value>-?\w+)"),
    ("hash_algorithm", "Using hash algorithm:", r"algorithm: (?P<name>\S+)"),
    ("config", "Creating LMCacheEngine with config:", r"config: (?P<values>.*)"),
    ("config", "LMCache Configuration:", r"Configuration: (?P<values>.*)"),
    ("config_file", "Loading LMCache config file", r"config file:? (?P<path>.*)"),
    ("config_key_unknown", "Unknown configuration key:", r"key: (?P<key>\S+)"),
    ("backend_created", "reated backend:", r"backend: (?P<name>[^\s(]+)"),
    ("registering", "Registering lmcache instance-worker:", r"\('(?P<instance>[^']*)', (?P<worker>\d+)\)"),
    ("register_failed", "Failed to register with controller", r"controller:? ?(?P<text>.*)"),
    ("controller_timed_out", "imeout occurred, recreating socket", r"(?P<text>.*)"),
    ("worker_failed", "Instance ", r"^Instance (?P<instance>.+), worker (?P<worker>\d+) error: (?P<text>.*)"),
    ("init_failed", "marked as init failed", r"init failed:? ?(?P<text>.*)"),
    ("degraded", "Failed during post_init", r"post_init: ?(?P<text>.*)"),
    ("degraded", "Failed to initialize LMCacheManager components", r"components: ?(?P<text>.*)"),
    ("degraded", "operate in degraded mode", r"(?P<text>.*)"),
    (
        "initialized",
        "LMCache initialized for role",
        r"role (?:KVConnectorRole\.)?(?P<role>\w+)(?: with version (?P<lmcache>[^\s,]+), vllm version "
        r"(?P<vllm>[^\s,]+))?(?:, lmcache cache_engine metadata: (?P<meta>.*))?",
    ),
    ("p2p_listening", "Starting P2P backend batched get handler", r"handler at (?P<address>\S+)"),
]
#: Lines that come from Python, vLLM or NIXL: tracebacks, mostly, and so often several times over.
OTHERS = [
    ("pd_p2p_conflict", "PD only supports enable_p2p=False", r"(?P<text>PD only supports enable_p2p=False)"),
    (
        "config_refused",
        "when enable_controller=True",
        r"\b(?P<text>\w{1,80} is required .{0,200}when enable_controller=True)",
    ),
    ("config_refused", "AssertionError", r"(?:^|\s)(?P<text>AssertionError)$"),
    ("unsupported_channel", "Unsupported channel type", r"(?P<text>Unsupported channel type.*)"),
    *(("bind_failed", text, r"(?P<text>" + text + r".*)") for text in (ADDRESS_NOT_OURS, *ADDRESS_IN_USE)),
    ("agent_mismatch", "Remote NIXL agent engine ID mismatch", r"(?P<text>Remote NIXL agent engine ID mismatch.*)"),
]

#: Kinds that tell how the engine came up; they stand at the head of a log and belong to no request.
STARTUP = """
    none_hash hash_algorithm config config_file config_key_unknown backend_created registering
    register_failed worker_failed degraded init_failed bind_failed unsupported_channel pd_p2p_conflict config_refused
    handler_crashed initialized p2p_listening
""".split()
#: Those that a failing engine says ten times a second; once is enough.
REPEATED = ["handler_crashed", "p2p_listening"]
#: Fields that are numbers.
INTEGERS = "total computed hit need tokens required length seconds chunks n worker".split()
FLOATS = ["cost_ms", "gb_s"]
