# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The evidence document ``kvproof.evidence/1``, declared; docs/evidence.md says what each part means.

``read()`` is the door of the judge: whatever comes in, what goes on has these types or None.  The words of a Literal
are those in use: a new one is no reason to drop evidence.
"""

from __future__ import annotations

from typing import Any, Literal, Required, TypedDict, cast

from .shapes import Count, Errors, Setting, json_schema, shape_of

SCHEMA = "kvproof.evidence/1"

# pylint is told that module_utils may meet Python 3.8; this part of it runs beside Ansible, on 3.11 or later
Texts = list[str | None]  # pylint: disable=unsupported-binary-operation
#: Allow-listed configuration keys.
Settings = dict[str, Setting | None]  # pylint: disable=unsupported-binary-operation


class Error(TypedDict, total=False):
    kind: str | None
    status: float | None
    text: str | None


class Gaps(TypedDict, total=False):
    n: Count | None
    mean: float | None
    p50: float | None
    max: float | None
    gaps: list[float | None] | None


class Position(TypedDict, total=False):
    token: str | None
    logprob: float | None
    top: dict[str, float | None] | None


class KvTransfer(TypedDict, total=False):
    do_remote_prefill: bool | None
    do_remote_decode: bool | None
    remote_engine_id: str | None
    remote_request_id: str | None
    remote_host: str | None
    transfer_mode: str | None
    remote_port: Count | None
    remote_num_tokens: Count | None
    remote_prefill_cached_tokens: Count | None
    tp_size: Count | None
    dcp_size: Count | None
    pp_size: Count | None
    first_tok: Count | None
    remote_blocks: Count | None
    num_vllm_cached_tokens: Count | None
    num_lmcache_cached_tokens: Count | None
    num_lmcache_extra_cached_tokens: Count | None


#: A counter's name → its rise.
Window = dict[str, float | None]  # pylint: disable=unsupported-binary-operation


class Request(TypedDict, total=False):
    role: (
        Literal[
            "seed", "reuse", "knockout", "repeat", "never_seen", "recompute", "reference", "warmup", "flush", "routed"
        ]
        | None
    )
    engine: Literal["holder", "receiver", "router"] | None
    request_id: str | None
    response_id: str | None
    sent_at: float | None
    ttft_s: float | None
    total_s: float | None
    itl_s: Gaps | None
    tpot_s: float | None
    prompt_tokens: Count | None
    cached_tokens: Count | None
    completion_tokens: Count | None
    finish_reason: str | None
    text: str | None
    logprobs: list[Position] | None
    kv_transfer: KvTransfer | None
    error: Error | None


class Visible(TypedDict, total=False):
    how: Literal["key_count", "log", "counter"] | None
    reached: bool | None
    waited_s: float | None
    limit_s: float | None


class Trial(TypedDict, total=False):
    index: Count | None
    attempt: Count | None
    order: Literal["reuse-first", "knockout-first"] | None
    prefix_tokens: Count | None
    expected_hit: Count | None
    expected_text: str | None
    seed: Request | None
    visible: Visible | None
    reuse: Request | None
    knockout: Request | None
    repeat: Request | None
    knockout_how: Literal["tag", "salt", "plain", "none"] | None
    prompt_kv_tokens: Count | None
    window: dict[str, Window | None] | None
    directory: Directory | None


class Length(TypedDict, total=False):
    asked: Count | None
    tokens: Count | None
    skipped: str | None
    trials: list[Trial] | None


class Metrics(TypedDict, total=False):
    state: Literal["ok", "error", "not-prometheus"] | None
    error: Error | None
    lmcache: bool | None
    at: float | None
    values: dict[str, float | None] | None


class MetricsPages(TypedDict, total=False):
    before: Metrics | None
    seeded: Metrics | None
    after: Metrics | None


class Versions(TypedDict, total=False):
    lmcache: str | None
    vllm: str | None


class Internal(TypedDict, total=False):
    url: str | None
    conf: Settings | None
    meta: Settings | None
    backends: Settings | None
    versions: Versions | None
    error: Error | None


class Health(TypedDict, total=False):
    status: Count | None


class Tunnel(TypedDict, total=False):
    via: Texts | None
    open_s: float | None
    rtt_s: float | None
    rtt_max_s: float | None
    pings: Count | None


class Recognised(TypedDict, total=False):
    architecture: str | None
    kv_role: str | None
    connector: str | None
    unsure: str | None


class ServerFacts(TypedDict, total=False):
    instance_id: str | None
    host: str | None
    port: Count | None
    chunk_size: Count | None
    hash_algorithm: str | None
    p2p_enabled: bool | None
    p2p_state: str | None
    p2p_peers: Texts | None
    p2p_advertise_url: str | None
    l2_adapters: Texts | None
    engines: Texts | None
    model_name: str | None
    world_size: Count | None
    world_sizes: dict[str, Count | None] | None
    started_at: float | None
    l1_used_bytes: Count | None
    l1_total_bytes: Count | None
    version: str | None


class Page(TypedDict, total=False):
    state: Literal["ok", "refused", "timeout", "error", "not-json", "unset", "no-tunnel"] | None
    status: Count | None
    text: str | None


class Process(TypedDict, total=False):
    running: bool | None
    pid: Count | None
    user: str | None
    found_by: str | None
    unseen: Texts | None


class Wanted(TypedDict, total=False):
    host: str | None
    port: Count | None
    ours: bool | None


class Advertised(TypedDict, total=False):
    value: str | None
    host: str | None
    ours: bool | None


class Engine(TypedDict, total=False):
    name: str | None
    url: str | None
    reachable: bool | None
    error: Error | None
    health: Health | None
    models: Texts | None
    model: str | None
    model_root: str | None
    max_model_len: Count | None
    version: str | None
    tokenize: bool | None
    metrics: MetricsPages | None
    internal: Internal | None
    tunnel: Tunnel | None
    recognised: Recognised | None
    cache_server: Server | None


class Engines(TypedDict, total=False):
    holder: Engine | None
    receiver: Engine | None


class Worker(TypedDict, total=False):
    instance_id: str | None
    worker_id: float | None
    ip: str | None
    port: Setting | None
    peer_init_url: str | None
    registration_time: float | None
    last_heartbeat_time: float | None
    key_count: Count | None


class ControllerOptions(TypedDict, total=False):
    host: str | None
    port: Setting | None
    monitor_ports: Settings | None


class Socket(TypedDict, total=False):
    address: str | None
    port: Count | None


class Controller(TypedDict, total=False):
    schema: str | None
    name: str | None
    ssh: Literal["ok", "unreachable", "failed", "not-used"] | None
    url: str | None
    http: Page | None
    workers: list[Worker] | None
    process: Process | None
    options: ControllerOptions | None
    listening: list[Socket] | None


class Instance(TypedDict, total=False):
    instance_id: str | None
    ip: str | None
    http_port: Count | None
    mq_port: Count | None
    p2p_advertised_url: str | None
    registration_time: float | None


class Coordinator(TypedDict, total=False):
    schema: str | None
    name: str | None
    ssh: Literal["ok", "unreachable", "failed", "not-used"] | None
    url: str | None
    http: Page | None
    healthy: bool | None
    instances: list[Instance] | None
    keys: dict[str, Count | None] | None
    process: Process | None
    options: Settings | None


class Directory(TypedDict, total=False):
    chunks: Count | None
    holders: dict[str, Count | None] | None
    ranks: dict[str, dict[str, Count | None] | None] | None
    chunk_bytes: Count | None


class ProbeSettings(TypedDict, total=False):
    trials: Count | None
    extra_attempts: Count | None
    chunks: Count | None
    wait_s: float | None
    deadline_s: float | None
    max_tokens: Count | None
    flush_waited_s: float | None


class Refusal(TypedDict, total=False):
    slug: str | None
    text: str | None


class Prompt(TypedDict, total=False):
    source: Literal["tokenize", "transformers", "text"] | None
    estimated: bool | None
    tokens: Count | None
    prefix_tokens: Count | None
    chunk_size: Count | None
    chunk_size_source: Literal["internal_api", "cache_server", "variable", "default"] | None
    expected_hit: Count | None
    shortened: str | None
    refused: Refusal | None


class DisaggSpec(TypedDict, total=False):
    receiver_host: str | None
    receiver_init_port: list[Count | None] | None
    receiver_alloc_port: list[Count | None] | None


class RoutedEngine(TypedDict, total=False):
    """What the pages of one engine showed around a routed request; ``unfinished``: the most requests on either."""

    window: Window | None
    unfinished: float | None


class Routed(TypedDict, total=False):
    request: Request | None
    rendered: Count | None
    again: bool | None
    engines: dict[str, RoutedEngine | None] | None
    still: Count | None
    recompute: Request | None


class Router(TypedDict, total=False):
    """The cluster's own way in, which is asked after the experiments of all its pairs."""

    url: str | None
    withheld: str | None
    engines: Count | None
    requests: list[Routed] | None


class ProbeError(Error, total=False):
    where: str | None


class Probe(TypedDict, total=False):
    schema: Required[str | None]
    run_id: str | None
    cluster: str | None
    skipped: str | None
    withheld: str | None
    architecture: str | None
    disagg_spec: DisaggSpec | None
    started_at: float | None
    duration_s: float | None
    settings: ProbeSettings | None
    engines: Required[Engines | None]
    controller: Controller | None
    coordinator: Coordinator | None
    prompt: Prompt | None
    warmup: list[Request] | None
    trials: Required[list[Trial] | None]
    never_seen: Request | None
    recompute: Request | None
    reference: Request | None
    flush: Request | None
    window: dict[str, Window | None] | None
    lengths: list[Length] | None
    router: Router | None
    errors: list[ProbeError] | None


class Event(TypedDict, total=False):
    """A line of an engine's log, by what its ``kind`` has (stack/lines)."""

    total: float | None
    computed: float | None
    hit: float | None
    need: float | None
    tokens: float | None
    required: float | None
    length: float | None
    seconds: float | None
    chunks: float | None
    n: float | None
    worker: float | None
    kept: float | None
    asked: float | None
    l1: float | None
    l2: float | None
    offset: float | None
    cost_ms: float | None
    gb_s: float | None
    kind: str | None
    at: str | None
    id: str | None
    file: str | None
    line: str | None
    instance: str | None
    location: str | None
    peer: str | None
    init: str | None
    lookup: str | None
    text: str | None
    code: str | None
    name: str | None
    path: str | None
    key: str | None
    operation: str | None
    address: str | None
    role: str | None
    lmcache: str | None
    vllm: str | None
    value: Setting | None
    values: Settings | None
    meta: Settings | None


class Log(TypedDict, total=False):
    schema: str | None
    source: Settings | None
    found_by: Literal["variable", "on_controller", "stdout"] | None
    state: Literal["ok", "empty", "absent", "unreadable", "not-a-file", "failed", "unknown"] | None
    detail: str | None
    size: Count | None
    mtime: float | None
    bytes_read: Count | None
    whole: bool | None
    ids_wanted: Texts | None
    ids_found: Texts | None
    ids_missing: Texts | None
    head: list[Event] | None
    events: list[Event] | None
    levels: dict[str, Count | None] | None
    truncated: bool | None


class Server(TypedDict, total=False):
    """LMCache's cache server of an engine in multiprocess mode, by its node or by the probe (``after`` it)."""

    schema: str | None
    name: str | None
    ssh: Literal["ok", "unreachable", "failed", "not-used"] | None
    url: str | None
    http: Page | None
    healthy: bool | None
    facts: ServerFacts | None
    after: ServerFacts | None
    process: Process | None
    options: Settings | None
    wanted: Wanted | None
    advertised: Advertised | None
    log: Log | None
    down: str | None


class EngineProcess(TypedDict, total=False):
    port: Count | None
    running: bool | None
    pid: Count | None
    user: str | None
    started_at: float | None
    found_by: str | None
    listening: bool | None
    options: dict[str, Any] | None
    env: Settings | None
    other_namespace: bool | None
    unseen: Texts | None


class ConfigFile(TypedDict, total=False):
    path: str | None
    found_by: Literal["variable", "environ", "log"] | None
    state: Literal["ok", "absent", "unreadable", "invalid", "unknown"] | None
    detail: str | None
    mtime: float | None
    values: Settings | None
    keys_other: Texts | None


class Effective(TypedDict, total=False):
    source: Literal["internal_api", "log"] | None
    values: Settings | None


class InternalApi(TypedDict, total=False):
    url: str | None
    state: Literal["ok", "refused", "timeout", "error", "off", "another", "unknown"] | None
    status: Count | None


class P2pHost(TypedDict, total=False):
    value: str | None
    resolved: Texts | None
    ours: bool | None


class PdPort(TypedDict, total=False):
    use: Literal["init", "alloc"] | None
    port: Count | None
    held: Literal["engine", "another", "nobody"] | None


class Pd(TypedDict, total=False):
    """Of a receiver of LMCache's prefill/decode transfer."""

    host_ours: bool | None
    ports: list[PdPort] | None


class Dial(TypedDict, total=False):
    to: str | None
    why: (
        Literal[
            "peer-init",
            "peer-lookup",
            "peer-from-log",
            "pd-init",
            "pd-alloc",
            "controller-pull",
            "controller-reply",
            "controller-http",
        ]
        | None
    )
    state: Literal["open", "refused", "timeout", "unreachable", "error"] | None
    ms: float | None


class Node(TypedDict, total=False):
    schema: str | None
    ssh: Literal["ok", "unreachable", "failed", "not-used"] | None
    ssh_reason: str | None
    hostname: str | None
    time: float | None
    user: str | None
    uid: Count | None
    addresses: Texts | None
    engine: EngineProcess | None
    config_file: ConfigFile | None
    effective: Effective | None
    meta: Settings | None
    backends: Texts | None
    internal_api: InternalApi | None
    versions: Versions | None
    p2p_host: P2pHost | None
    pd: Pd | None
    listening: list[Socket] | None
    dials: list[Dial] | None
    log: Log | None
    cache_server: Server | None
    bytes_read: Count | None
    duration_s: float | None


class Nodes(TypedDict, total=False):
    holder: Node | None
    receiver: Node | None


class PairNames(TypedDict, total=False):
    holder: str | None
    receiver: str | None


class Limits(TypedDict, total=False):
    """What the operator set: ``max_ttft_ms`` of reused requests, ``min_speedup`` of recomputed to reused."""

    min_speedup: float | None
    max_ttft_ms: float | None


class Evidence(TypedDict, total=False):
    schema: Required[str | None]
    tool: str | None
    cluster: Required[str | None]
    mode: Required[Literal["inventory", "seed", "recording"] | None]
    architecture: str | None
    pair: Required[PairNames | None]
    limits: Limits | None
    source: Literal["p2p", "any"] | None
    probe: Required[Probe | None]
    nodes: Required[Nodes | None]
    controllers: Required[list[Controller] | None]
    coordinators: list[Coordinator] | None
    cache_servers: list[Server] | None


def read(document: Any) -> tuple[Evidence, list[str]]:
    """A fresh copy of an evidence document that has the promised types, and sentences on what had not.

    A part of another type counts as not seen.  So does the whole document when it is no object or says that it is
    of another schema: then the copy is empty.
    """
    errors = Errors()
    fresh = shape_of(Evidence).read(document, None, errors)
    if fresh is None:
        return cast(Evidence, {}), list(errors) or ["there is no evidence document"]
    if fresh.get("schema") not in (None, SCHEMA):
        return cast(Evidence, {}), [f"the evidence is {fresh['schema']}; this kvproof judges {SCHEMA}"]
    return fresh, list(errors)


def node(value: Any) -> dict[str, Any]:
    """A fresh copy of a NODE as far as it has the promised types, {} where it is no object."""
    return shape_of(Node).read(value, None, Errors()) or {}


def schema() -> dict[str, Any]:
    """The JSON Schema of the document, for docs/evidence.schema.json."""
    about = "What was seen of one pair (docs/evidence.md). null, or an absent field: not seen."
    return json_schema(Evidence, id="urn:kvproof:evidence:1", title=SCHEMA, description=about)
