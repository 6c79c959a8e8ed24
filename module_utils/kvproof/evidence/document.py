# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The evidence document ``kvproof.evidence/1`` in shapes; docs/evidence.md says what each part means.

``read()`` is the door of the judge: whatever comes in, what goes on has these types or None.
"""

from __future__ import annotations

from .shapes import Count, Errors, Flag, ListOf, MapOf, Number, Object, Plain, Shape, Text

SCHEMA = "kvproof.evidence/1"
_TEXT, _NUMBER, _COUNT, _FLAG = Text(), Number(), Count(), Flag()
_TEXTS = ListOf(_TEXT)
_SETTINGS = MapOf(Plain())  # allow-listed configuration keys

ERROR = Object("error", kind=_TEXT, status=_NUMBER, text=_TEXT)

REQUEST = Object(
    "request",
    role=Text("seed", "reuse", "knockout", "repeat", "never_seen", "recompute", "reference", "warmup"),
    engine=Text("holder", "receiver"),
    request_id=_TEXT,
    response_id=_TEXT,
    sent_at=_NUMBER,
    ttft_s=_NUMBER,
    total_s=_NUMBER,
    itl_s=Object(n=_COUNT, mean=_NUMBER, p50=_NUMBER, max=_NUMBER, gaps=ListOf(_NUMBER)),
    tpot_s=_NUMBER,
    prompt_tokens=_COUNT,
    cached_tokens=_COUNT,
    completion_tokens=_COUNT,
    finish_reason=_TEXT,
    text=_TEXT,
    logprobs=ListOf(Object(token=_TEXT, logprob=_NUMBER, top=MapOf(_NUMBER))),
    error=ERROR,
)

TRIAL = Object(
    "trial",
    index=_COUNT,
    attempt=_COUNT,
    order=Text("reuse-first", "knockout-first"),
    prefix_tokens=_COUNT,
    expected_hit=_COUNT,
    expected_text=_TEXT,
    seed=REQUEST,
    visible=Object(how=Text("key_count", "log", "counter"), reached=_FLAG, waited_s=_NUMBER, limit_s=_NUMBER),
    reuse=REQUEST,
    knockout=REQUEST,
    repeat=REQUEST,
    knockout_how=Text("tag", "none"),
    prompt_kv_tokens=_COUNT,
    window=MapOf(MapOf(_NUMBER)),
)

LENGTH = Object(
    "length",
    asked=_COUNT,
    tokens=_COUNT,
    skipped=_TEXT,
    trials=ListOf(TRIAL),
)

METRICS = Object(
    "metrics",
    state=Text("ok", "error", "not-prometheus"),
    error=ERROR,
    lmcache=_FLAG,
    at=_NUMBER,
    values=MapOf(_NUMBER),
)

INTERNAL = Object(
    "internal",
    url=_TEXT,
    conf=_SETTINGS,
    meta=_SETTINGS,
    backends=MapOf(Plain()),
    versions=Object(lmcache=_TEXT, vllm=_TEXT),
    error=ERROR,
)

ENGINE = Object(
    "engine",
    name=_TEXT,
    url=_TEXT,
    reachable=_FLAG,
    error=ERROR,
    health=Object(status=_COUNT),
    models=_TEXTS,
    model=_TEXT,
    model_root=_TEXT,
    max_model_len=_COUNT,
    version=_TEXT,
    tokenize=_FLAG,
    metrics=Object(before=METRICS, after=METRICS),
    internal=INTERNAL,
    tunnel=Object(via=_TEXTS, open_s=_NUMBER, rtt_s=_NUMBER, rtt_max_s=_NUMBER, pings=_COUNT),
)

WORKER = Object(
    "worker",
    instance_id=_TEXT,
    worker_id=_NUMBER,
    ip=_TEXT,
    port=Plain(),
    peer_init_url=_TEXT,
    registration_time=_NUMBER,
    last_heartbeat_time=_NUMBER,
    key_count=_COUNT,
)

CONTROLLER = Object(
    "controller",
    schema=_TEXT,
    name=_TEXT,
    ssh=Text("ok", "unreachable", "failed", "not-used"),
    url=_TEXT,
    http=Object(
        state=Text("ok", "refused", "timeout", "error", "not-json", "unset", "no-tunnel"), status=_COUNT, text=_TEXT
    ),
    workers=ListOf(WORKER),
    process=Object(running=_FLAG, pid=_COUNT, user=_TEXT, found_by=_TEXT, unseen=_TEXTS),
    options=Object(host=_TEXT, port=Plain(), monitor_ports=_SETTINGS),
    listening=ListOf(Object(address=_TEXT, port=_COUNT)),
)

PROBE = Object(
    "probe",
    ("schema", "engines", "trials"),
    schema=_TEXT,
    run_id=_TEXT,
    cluster=_TEXT,
    skipped=_TEXT,
    started_at=_NUMBER,
    duration_s=_NUMBER,
    settings=Object(
        trials=_COUNT,
        extra_attempts=_COUNT,
        chunks=_COUNT,
        wait_s=_NUMBER,
        deadline_s=_NUMBER,
        max_tokens=_COUNT,
        flush_waited_s=_NUMBER,
    ),
    engines=Object(holder=ENGINE, receiver=ENGINE),
    controller=CONTROLLER,
    prompt=Object(
        source=Text("tokenize", "transformers", "text"),
        estimated=_FLAG,
        tokens=_COUNT,
        prefix_tokens=_COUNT,
        chunk_size=_COUNT,
        chunk_size_source=Text("internal_api", "variable", "default"),
        expected_hit=_COUNT,
        shortened=_TEXT,
        refused=Object(slug=_TEXT, text=_TEXT),
    ),
    warmup=ListOf(REQUEST),
    trials=ListOf(TRIAL),
    never_seen=REQUEST,
    recompute=REQUEST,
    reference=REQUEST,
    lengths=ListOf(LENGTH),
    errors=ListOf(Object(where=_TEXT, kind=_TEXT, status=_NUMBER, text=_TEXT)),
)

_EVENT_COUNTS = (
    "total computed hit need tokens required length seconds chunks n worker kept asked l1 l2 offset cost_ms gb_s"
)
_EVENT_TEXTS = (
    "kind at id file line instance location peer init lookup text code name path key operation address role "
    "lmcache vllm"
)
EVENT = Object(
    "event",
    **dict.fromkeys(_EVENT_COUNTS.split(), _NUMBER),
    **dict.fromkeys(_EVENT_TEXTS.split(), _TEXT),
    value=Plain(),
    values=_SETTINGS,
    meta=_SETTINGS,
)

LOG = Object(
    "log",
    schema=_TEXT,
    source=MapOf(Plain()),
    found_by=Text("variable", "stdout"),
    state=Text("ok", "empty", "absent", "unreadable", "not-a-file", "failed", "unknown"),
    detail=_TEXT,
    size=_COUNT,
    mtime=_NUMBER,
    bytes_read=_COUNT,
    whole=_FLAG,
    ids_wanted=_TEXTS,
    ids_found=_TEXTS,
    ids_missing=_TEXTS,
    head=ListOf(EVENT),
    events=ListOf(EVENT),
    levels=MapOf(_COUNT),
    truncated=_FLAG,
)

NODE = Object(
    "node",
    schema=_TEXT,
    ssh=Text("ok", "unreachable", "failed", "not-used"),
    ssh_reason=_TEXT,
    hostname=_TEXT,
    time=_NUMBER,
    user=_TEXT,
    uid=_COUNT,
    addresses=_TEXTS,
    engine=Object(
        port=_COUNT,
        running=_FLAG,
        pid=_COUNT,
        user=_TEXT,
        started_at=_NUMBER,
        found_by=_TEXT,
        listening=_FLAG,
        options=MapOf(Shape()),
        env=MapOf(Plain()),
        other_namespace=_FLAG,
        unseen=_TEXTS,
    ),
    config_file=Object(
        path=_TEXT,
        found_by=Text("variable", "environ", "log"),
        state=Text("ok", "absent", "unreadable", "invalid", "unknown"),
        detail=_TEXT,
        mtime=_NUMBER,
        values=_SETTINGS,
        keys_other=_TEXTS,
    ),
    effective=Object(source=Text("internal_api", "log"), values=_SETTINGS),
    meta=_SETTINGS,
    backends=_TEXTS,
    internal_api=Object(
        url=_TEXT,
        state=Text("ok", "refused", "timeout", "error", "off", "another", "unknown"),
        status=_COUNT,
    ),
    versions=Object(lmcache=_TEXT, vllm=_TEXT),
    p2p_host=Object(value=_TEXT, resolved=_TEXTS, ours=_FLAG),
    listening=ListOf(Object(address=_TEXT, port=_COUNT)),
    dials=ListOf(
        Object(
            to=_TEXT,
            why=Text(
                "peer-init", "peer-lookup", "peer-from-log", "controller-pull", "controller-reply", "controller-http"
            ),
            state=Text("open", "refused", "timeout", "unreachable", "error"),
            ms=_NUMBER,
        )
    ),
    log=LOG,
    cache_server=Object(instance_id=_TEXT, p2p_advertise_url=_TEXT, l2_adapters=_TEXTS),
    bytes_read=_COUNT,
    duration_s=_NUMBER,
)

EVIDENCE = Object(
    None,
    ("schema", "cluster", "mode", "pair", "probe", "nodes", "controllers"),
    schema=_TEXT,
    tool=_TEXT,
    cluster=_TEXT,
    mode=Text("inventory", "seed", "recording"),
    architecture=_TEXT,
    pair=Object(holder=_TEXT, receiver=_TEXT),
    limits=Object(min_speedup=_NUMBER, max_ttft_ms=_NUMBER),
    probe=PROBE,
    nodes=Object(holder=NODE, receiver=NODE),
    controllers=ListOf(CONTROLLER),
)


def read(document) -> tuple[dict, list[str]]:
    """A fresh copy of an evidence document that has the promised types, and sentences on what had not.

    A part of another type counts as not seen.  So does the whole document when it is no object or says that it is
    of another schema.
    """
    errors = Errors()
    found = EVIDENCE.read(document, None, errors)
    if found is None:
        return {}, list(errors) or ["there is no evidence document"]
    if found.get("schema") not in (None, SCHEMA):
        return {}, [f"the evidence is {found['schema']}; this kvproof judges {SCHEMA}"]
    return found, list(errors)


def schema() -> dict:
    """The JSON Schema of the document, for docs/evidence.schema.json."""
    defs: dict = {}
    body = EVIDENCE.schema(defs)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:kvproof:evidence:1",
        "title": SCHEMA,
        "description": "What was seen of one pair (docs/evidence.md). null, or an absent field: not seen.",
        **body,
        "$defs": defs,
    }
