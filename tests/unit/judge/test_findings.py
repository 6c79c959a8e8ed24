"""Every finding, proven by a document that makes it appear: in its role, with the right verdict, first where it is the
cause.  And none of them in a healthy document.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import readers
import verdicts
from documents import (
    CHUNK,
    HIT,
    OTHER_WORDS,
    PROMPT,
    ROLES,
    WORDS,
    add_head,
    anywhere,
    controller,
    count,
    dial,
    drop_events,
    event,
    failed,
    layout,
    logged_id,
    logprobs,
    no_log,
    no_nodes,
    not_announced,
    pair,
    put,
    setting,
    unreachable_engine,
    untold,
)
from judging import events
from kvproof.judge.findings import all_findings
from kvproof.judge.verdict import judge
from kvproof.report.language import speaking
from kvproof.report.timeline import timed as timed_verdict
from kvproof.report.translated import translated_pair
from kvproof.stack import mp
from languages import english, sentences
from mp_documents import (
    UNREGISTERED,
    advertised,
    coordinator_gone,
    facts,
    local,
    missed,
    mp_pair,
    nothing_sent,
    on_two_ranks,
    server_gone,
    started_with,
    unread_log,
    unresolved,
)
from nixl_documents import nixl_pair, read_late, sent_home, told_by_the_log
from pd_documents import in_doubt, pd_pair, pushes_lost, too_small
from routed_documents import ALONE, DISAGGREGATED, TWICE, answering, counted, refused, through, unsent

MISSED, LOST = ("missed",) * 3, ("timed-out",) * 3
HOLDER, RECEIVER, ROUTER = ROLES["holder"], ROLES["receiver"], "router 10.0.0.5:8080"


@dataclass
class Case:
    """A document, and what the judge must make of one finding in it.  ``host`` is whom it is about."""

    name: str
    slug: str
    build: Callable[[], dict]
    role: str
    verdict: str
    first: bool = True
    host: str | None = None


def warned(slug: str, build, name: str | None = None) -> Case:
    """The condition is there, and reuse was proven all the same."""
    return Case(name or f"{slug}, proven all the same", slug, build, "warning", "pass", False)


def cause(slug: str, build, name: str | None = None, host: str | None = None) -> Case:
    return Case(name or slug, slug, build, "cause", "fail", True, host)


def failure(slug: str, build, name: str | None = None, host: str | None = None) -> Case:
    return Case(name or slug, slug, build, "failure", "fail", True, host)


def validity(slug: str, build, name: str | None = None) -> Case:
    return Case(name or slug, slug, build, "validity", "inconclusive")


def beside(slug: str, build, role: str) -> Case:
    """Another finding is the first of a failure."""
    return Case(f"{slug}, beside another", slug, build, role, "fail", False)


def note(slug: str, build, name: str | None = None, verdict: str = "pass", host: str | None = None) -> Case:
    return Case(name or slug, slug, build, "note", verdict, False, host)


# ---- documents that need more than one line


def sick_server() -> dict:
    document = nothing_sent(mp_pair(), "its cache server is not healthy")
    return put(document, "probe.engines.holder.cache_server.healthy", False)


def restarted_server() -> dict:
    """The receiver's server forgot its engine."""
    return facts(nothing_sent(mp_pair(), "it is not registered"), "receiver", engines=[])


def from_another_adapter() -> dict:
    document = facts(mp_pair(), "receiver", l2_adapters=["P2PL2Adapter", "RedisL2Adapter"])
    for trial in document["probe"]["trials"]:
        window = trial["window"]["receiver_server"]
        window[mp.LOADED + "{l2_name=redis}"] = window.pop(mp.LOADED_BY_P2P)
    return document


def without_windows(document: dict) -> dict:
    for trial in document["probe"]["trials"]:
        trial["window"]["receiver_server"] = None
    return document


def unserved_by_the_holder() -> dict:
    """The receiver's server had it of some peer, but the holder's read nothing meanwhile."""
    document = mp_pair()
    for trial in document["probe"]["trials"]:
        trial["window"]["holder_server_at_reuse"][mp.READ] = 0.0
    return document


def taken_from_nowhere() -> dict:
    """The lookup hit, and vLLM computed the whole prompt: cached_tokens says what the lookup did."""
    document = mp_pair()
    for trial in document["probe"]["trials"]:
        tokens = float(trial["reuse"]["prompt_tokens"])
        source = "vllm:prompt_tokens_by_source_total{source=local_compute}"
        trial["window"]["receiver"] = {"vllm:prompt_tokens_total": tokens, source: tokens}
    return document


def masked_by_vllm() -> dict:
    document = mp_pair()
    for trial in document["probe"]["trials"]:
        stats = {
            "num_vllm_cached_tokens": 1024,
            "num_lmcache_cached_tokens": 1024,
            "num_lmcache_extra_cached_tokens": 0,
        }
        trial["reuse"]["kv_transfer"] = stats
    return document


def elsewhere(document: dict) -> dict:
    return put(document, "nodes.receiver.cache_server.wanted.ours", False)


def two_coordinators(document: dict) -> dict:
    facts(document, "receiver", p2p_peers=[])
    return started_with(document, "receiver", "coordinator-url", "http://10.0.0.9:9300")


def shut(document: dict) -> dict:
    """The receiver's node cannot connect to where the holder's server is."""
    dials = document["nodes"]["receiver"]["dials"]
    for one in dials:
        one["state"] = "timeout"
    return document


def dropping(document: dict) -> dict:
    for trial in document["probe"]["trials"]:
        trial["window"]["holder_server"][mp.EVICTED] = 4.0
    return document


def unwritten(document: dict) -> dict:
    for trial in document["probe"]["trials"]:
        trial["window"]["holder_server"][mp.WRITTEN] = 0.0
    return document


def stray_server(document: dict, engines: list[str] | None = ()) -> dict:
    """engines: those that are registered with it; None: it did not say."""
    options = {"kv-transfer-config": {"kv_connector": "LMCacheConnectorV1", "kv_role": "kv_both"}}
    put(document, "nodes.holder.engine.options", options)
    facts = None if engines is None else {"engines": list(engines)}
    server = {"wanted": None, "process": {"running": True, "pid": 77}, "facts": facts}
    return put(document, "nodes.holder.cache_server", server)


def started(document: dict, *times: float) -> dict:
    """When the processes of both engines started, by their metrics."""
    for role, at in zip(ROLES, times):
        document["probe"]["engines"][role]["metrics"]["after"]["values"]["process_start_time_seconds"] = at
    return document


def hung(role: str) -> dict:
    """The engine answers nothing from the second trial on."""
    late = {"kind": "timeout", "status": None, "text": "it did not finish its answer within 60.0 s"}
    return lost_in_the_second_trial(role, late, late)


def gone(role: str) -> dict:
    """The engine is killed in the second trial."""
    cut = {"kind": "stream", "status": 200, "text": "it broke the answer off"}
    return lost_in_the_second_trial(role, cut, {"kind": "connect", "status": None, "text": "connection refused"})


def lost_in_the_second_trial(role: str, error: dict, closing: dict) -> dict:
    """error: of its last request; closing: of the look at its /metrics in the end."""
    document = pair("proven", "proven", "proven")
    trial, trials = document["probe"]["trials"][1], document["probe"]["trials"]
    request = trial["reuse" if role == "receiver" else "seed"]
    request.update(error=error, total_s=60.0, ttft_s=None, itl_s=None)
    del trials[2:]
    if role == "holder":
        trial.update(reuse=None, knockout=None)
    document["probe"]["engines"][role]["metrics"]["after"] = {"state": "error", "error": closing, "values": {}}
    return document


def damaged(*shifts: float) -> dict:
    """Reuses whose log-probabilities are so many nats away from their recompute's."""
    document = pair(*("proven",) * len(shifts))
    for trial, shift in zip(document["probe"]["trials"], shifts):
        trial["reuse"]["logprobs"] = logprobs(WORDS, shift)
    return document


def timed(*pairs: tuple[float, float]) -> dict:
    """Prompts proven to be reused, with TTFT of (reuse, recompute) in seconds, and room for limits."""
    document = pair(*("proven",) * len(pairs), limits={})
    for trial, (reused, cold) in zip(document["probe"]["trials"], pairs):
        trial["reuse"]["ttft_s"], trial["knockout"]["ttft_s"] = reused, cold
    return document


def without_logprobs(text: str) -> dict:
    """``logprobs`` was refused everywhere, and the reuses answered so."""
    document = pair()
    probe = document["probe"]
    for trial in probe["trials"]:
        for name in ("seed", "reuse", "knockout"):
            trial[name]["logprobs"] = None
        trial["reuse"]["text"] = text
    for name in ("never_seen", "recompute"):
        probe[name]["logprobs"] = None
    return document


def degraded(outcomes=LOST) -> dict:
    line = "LMCache ERROR: Failed to initialize LMCacheManager components: no such backend"
    document = add_head(pair(*outcomes), "receiver", "degraded", text="no such backend", line=line)
    return drop_events(document, "receiver", "responded", "retrieved", "stored")


def answered_503() -> dict:
    document = drop_events(pair(*LOST), "receiver", "responded", "retrieved")
    put(document, "nodes.receiver.internal_api", {"url": "http://127.0.0.97:6999", "state": "ok", "status": 503})
    put(document, "nodes.receiver.backends", None)
    log = document["nodes"]["receiver"]["log"]
    log["head"] = [one for one in log["head"] if one["kind"] != "backend_created"]
    return document


def controller_gone(document: dict) -> dict:
    """The controller's process is gone; nobody gets an answer."""
    one = document["controllers"][0]
    one.update(workers=None, http={"state": "refused", "status": None, "text": "connection refused"})
    one["process"].update(running=False, pid=None)
    for role in ROLES:
        dial(document, role, "controller", "refused")
    return document


def no_peer_asked(document: dict) -> dict:
    """No request of this run got through to the holder's P2P ports."""
    return drop_events(document, "holder", "peer_asked", "transfer_finished")


def blackhole(document: dict) -> dict:
    return dial(no_peer_asked(document), "receiver", "peer-init", "timeout")


def cannot_bind(document: dict, role: str = "holder") -> dict:
    return add_head(document, role, "handler_crashed", text="Address already in use (addr='tcp://127.0.0.13:8201')")


def in_process_ranks(document: dict, lmcache: str | None = "0.5.6") -> dict:
    """Engines of two ranks each, of which one alone has written its lines."""
    for role in ROLES:
        put(document, f"nodes.{role}.meta.world_size", 2)
        put(document, f"nodes.{role}.versions.lmcache", lmcache)
    return document


def every_rank_stored(document: dict) -> dict:
    log = document["nodes"]["holder"]["log"]
    log["events"] = [e for e in log["events"] for _rank in range(2 if e["kind"] == "stored" else 1)]
    return document


def one_rank_unregistered(document: dict) -> dict:
    return facts(on_two_ranks(document, written=8), "receiver", engines=["1"])


def without_connector(document: dict, role: str = "receiver") -> dict:
    """A plain vLLM: no option, no line of LMCache, no worker at the controller."""
    put(document, f"nodes.{role}.engine.options", {"model": "/opt/kv/model"})
    log = document["nodes"][role]["log"]
    log.update(head=[event("engine_started")], events=[], ids_found=[])
    return unlisted(document, role) if document["controllers"] else document


def side_channel_taken(document: dict) -> dict:
    unreachable_engine(document, "holder")
    text = "Address already in use (addr='tcp://127.0.0.13:5600')"
    return add_head(document, "holder", "bind_failed", text=text)


def store_lost(document: dict) -> dict:
    text = "Remote connection failed in contains: Error 111 connecting to 10.0.0.5:6379. Connection refused."
    for role in ROLES:
        events(document, role).append(event("store_lost", text=text))
    return document


def plain_beside(document: dict) -> dict:
    """The holder has no connector and the receiver has one, so nothing was sent."""
    without_connector(document, "holder")
    document["probe"]["engines"]["holder"]["recognised"] = {"architecture": None, "connector": "none"}
    return nothing_sent(document, "prefill-1 has no connector")


def incomplete(key: str, document: dict) -> dict:
    """The engine ended with a bare assertion, and its file lacks a key."""
    unreachable_engine(document, "receiver")
    add_head(document, "receiver", "config_refused", text="AssertionError")
    document["nodes"]["receiver"]["config_file"]["values"].update(
        enable_controller=True, lmcache_worker_ports=[8500], transfer_channel="nixl"
    )
    return put(document, f"nodes.receiver.config_file.values.{key}", None)


def refused_by_lmcache(document: dict) -> dict:
    unreachable_engine(document, "holder")
    text = "lmcache_worker_ports is required and cannot be empty when enable_controller=True"
    return add_head(document, "holder", "config_refused", text=text)


def for_itself_alone(document: dict) -> dict:
    """The controller's ports answer on its own host only."""
    one = document["controllers"][0]
    one.update(workers=None, http={"state": "refused", "status": None, "text": "connection refused"})
    one["options"]["host"] = "localhost"
    document["probe"]["controller"].update(one, name=None)
    for role in ROLES:
        dial(document, role, "controller", "refused")
    return document


def named_in_vain(document: dict) -> dict:
    """Every lookup was told of the holder; nothing came of it."""
    log = document["nodes"]["receiver"]["log"]
    for index in range(len(document["probe"]["trials"])):
        at = next(n for n, e in enumerate(log["events"]) if e.get("id") == logged_id(f"{index}-reuse"))
        log["events"].insert(at, layout())
    return document


def transfers(seconds: float | None) -> dict:
    """Every reuse reached the holder and timed out; transfers took so long, or never ended."""
    document = named_in_vain(pair(*LOST))
    log = document["nodes"]["holder"]["log"]
    for index in range(len(LOST)):
        log["events"].append(event("peer_asked", f"{index}-reuse", at="2026-11-24 02:25:00,000"))
        if seconds is not None:
            log["events"].append(
                event("transfer_finished", n=index, at=f"2026-11-24 02:25:{seconds:06.3f}".replace(".", ","))
            )
    return document


PRESSURE = "LMCache WARNING: No eviction candidates found in local cpu backend. Local cpu memory is under pressure."


def short_of_room(document: dict) -> dict:
    """The holder's pool was full at some time."""
    document["nodes"]["holder"]["log"]["events"].append(event("memory_pressure", text="", line=PRESSURE))
    return document


def waiting_for_room() -> dict:
    """Every lookup of a reuse waited for room until its time-out."""
    document = pair(*LOST)
    log = document["nodes"]["receiver"]["log"]
    reuses = [logged_id(f"{index}-reuse") for index in range(len(LOST))]
    for at, one in reversed(list(enumerate(log["events"]))):
        if one["kind"] == "lookup_timed_out" and one["id"] in reuses:
            log["events"].insert(at, event("memory_pressure", text="", line=PRESSURE))
    return document


def stored_in_part(document: dict) -> dict:
    for one in document["nodes"]["holder"]["log"]["events"]:
        if one["kind"] == "stored":
            one["tokens"] = 2 * CHUNK
    return document


def seeds_astray(*outcomes: str) -> dict:
    """A router sent the seeds to the receiver; the holder saw nothing."""
    document = pair(*outcomes)
    holder, receiver = (document["nodes"][role]["log"] for role in ROLES)
    receiver["events"] = [e for e in holder["events"] if e["kind"] == "stored"] + receiver["events"]
    holder.update(events=[], ids_found=[])
    return document


def failed_in_the_load() -> dict:
    """kv_load_failure_policy is fail: every reuse ended in an error."""
    document = pair(*("load-failed",) * 3)
    for trial in document["probe"]["trials"]:
        failed(trial["reuse"], "stream", None, "stopped with an error (Internal server error)")
    return count(document)


def builds(one: str, other: str) -> dict:
    return put(put(pair(), "nodes.holder.versions.lmcache", one), "nodes.receiver.versions.lmcache", other)


def foreign_host(document: dict, role: str = "holder") -> dict:
    put(document, f"nodes.{role}.p2p_host", {"value": "10.9.9.9", "resolved": ["10.9.9.9"], "ours": False})
    peer = "receiver" if role == "holder" else "holder"
    document["nodes"][peer]["dials"].append({"to": "10.9.9.9:8200", "why": "peer-init", "state": "timeout", "ms": 500})
    return document


def loopback_host(document: dict) -> dict:
    return put(document, "nodes.holder.p2p_host", {"value": "localhost", "resolved": ["127.0.0.1"], "ours": True})


def unlisted(document: dict, role: str) -> dict:
    one = document["controllers"][0]
    one["workers"] = [worker for worker in one["workers"] if worker["instance_id"] != ROLES[role]]
    for trial in document["probe"]["trials"]:
        trial["visible"]["how"] = None
    return document


def listed_elsewhere(document: dict) -> dict:
    for one in (document["controllers"][0], document["probe"]["controller"]):
        for worker in one["workers"]:
            if worker["instance_id"] == HOLDER:
                worker["peer_init_url"] = "10.0.0.99:8200"
    return document


def same_id(document: dict) -> dict:
    for role in ROLES:
        setting(document, role, "lmcache_instance_id", "kv-node")
    return document


def late(document: dict) -> dict:
    """No store was seen in time, and all of them were there in the end."""
    not_announced(document)
    document["controllers"] = [controller(len(document["probe"]["trials"]) * HIT // CHUNK + 2)]
    return document


def no_seed_stored() -> dict:
    return drop_events(pair(*MISSED), "holder", "stored")


def refused_prompt(slug: str) -> dict:
    document = pair()
    document["probe"]["prompt"]["refused"] = {"slug": slug, "text": "the longest prompt that fits is too short"}
    document["probe"].update(trials=[], never_seen=None, recompute=None)
    return count(document)


def short_prefix() -> dict:
    document = pair(*MISSED)
    for trial in document["probe"]["trials"]:
        trial.update(prefix_tokens=CHUNK - 1, expected_hit=0)
    return document


def cut_off() -> dict:
    document = pair("proven")
    document["probe"]["settings"]["trials"] = 3
    document["probe"]["errors"] = [{"where": "experiment", "kind": "deadline", "status": None, "text": "out of time"}]
    return document


def unknown_key(key: str = "enabel_p2p") -> dict:
    return add_head(pair(), "receiver", "config_key_unknown", key=key)


def others(document: dict) -> dict:
    """Another client's request finished on the receiver meanwhile."""
    values = document["probe"]["engines"]["receiver"]["metrics"]["after"]["values"]
    values["vllm:request_success_total"] += 1
    return document


def quiet_log(document: dict, role: str) -> dict:
    """LMCACHE_LOG_LEVEL=WARNING: the log is read and says nothing."""
    log = document["nodes"][role]["log"]
    log.update(events=[], head=[], ids_found=[], ids_missing=log["ids_wanted"])
    log["levels"] = {"INFO": 0, "WARNING": 2, "ERROR": 0}
    document["nodes"][role]["engine"]["env"]["LMCACHE_LOG_LEVEL"] = "WARNING"
    return document


def another_log(document: dict, role: str) -> dict:
    log = document["nodes"][role]["log"]
    log.update(events=[event("looked_up", None, id="cmpl-other-0-00000000", hit=0, need=0)], ids_found=[])
    log["ids_missing"] = log["ids_wanted"]
    return document


def both_on(document: dict) -> dict:
    unreachable_engine(document, "receiver")
    setting(document, "receiver", "enable_pd", True)
    return document


def slow_engine() -> dict:
    """No log of the receiver, and every request takes longer than the lookup time-out."""
    document = no_log(pair(*MISSED), "receiver")
    for trial in document["probe"]["trials"]:
        trial["reuse"]["ttft_s"] = trial["knockout"]["ttft_s"] = 3.4
    for name in ("never_seen", "recompute"):
        document["probe"][name]["ttft_s"] = 3.4
    return document


def beside_a_stall() -> dict:
    """Plain misses in a run in which another request ran into the time-out."""
    document = pair(*MISSED)
    document["nodes"]["receiver"]["log"]["events"].append(event("lookup_timed_out", "2-knockout", seconds=3))
    return document


def from_store(document: dict) -> dict:
    return setting(document, "receiver", "remote_url", "redis://10.0.0.9:6379")


def nonsense() -> dict:
    document = pair()
    for trial in document["probe"]["trials"]:
        trial["reuse"]["text"] = trial["knockout"]["text"] = "bytes" * 16
    return document


def partial(tokens: int = 2 * CHUNK) -> dict:
    document = pair()
    for one in document["nodes"]["receiver"]["log"]["events"]:
        if one["kind"] == "retrieved":
            one["tokens"] = tokens
    return document


def http_error(document: dict, role: str, status: int) -> dict:
    """The first contact got this status, and so did everything after it."""
    engine = document["probe"]["engines"][role]
    error = {"kind": "http", "status": status, "text": f"{engine['url']} answers {status}"}
    engine.update(error=error, health={"status": status}, models=[], model=None)
    document["probe"].update(trials=[], warmup=[], never_seen=None, recompute=None, prompt=None)
    document["probe"]["errors"] = [{"where": f"{role}.models", **error}]
    return document


def all_failing(role: str, kind: str, status: int | None = None) -> dict:
    document = pair()
    for trial in document["probe"]["trials"]:
        failed(trial["seed" if role == "holder" else "reuse"], kind, status, "cut the stream before its end")
        if role == "holder":
            trial.update(reuse=None, knockout=None, knockout_how="none")
    document["probe"].update(never_seen=None, recompute=None)
    for name in ("holder", "receiver"):
        document["nodes"][name]["log"]["events"] = []
    return count(document)


def no_controller(document: dict) -> dict:
    """Nobody could ask the controller, nor look at its host."""
    document["controllers"] = []
    document["probe"]["controller"] = None
    return document


def knockout_failed(document: dict) -> dict:
    failed(document["probe"]["trials"][1]["knockout"])
    return document


def answers(text: str, cold: str) -> dict:
    """``logprobs`` was refused, the reuses answered ``text`` and their recomputes ``cold``."""
    document = without_logprobs(text)
    for trial in document["probe"]["trials"]:
        trial["knockout"]["text"] = cold
    return document


def withheld() -> dict:
    """Nothing was sent, since the engines are none that there is an experiment for."""
    return put(put(pair(), "probe.trials", []), "probe.withheld", "both run the connector MooncakeConnector")


def runs_nixl(document: dict, *roles: str) -> dict:
    for role in roles:
        transfer = {"kv_connector": "NixlConnector", "kv_role": "kv_both"}
        put(document, f"nodes.{role}.engine.options", {"kv-transfer-config": transfer})
    return document


CASES = [
    # link 1 and 2: engines
    failure("engine-unreachable", lambda: unreachable_engine(pair(), "receiver"), host=RECEIVER),
    failure(
        "engine-unreachable", lambda: unreachable_engine(pair(), "holder", "stream"), "no HTTP at the port", host=HOLDER
    ),
    validity("tunnel-failed", lambda: unreachable_engine(pair(), "holder", "ssh")),
    note("ssh-unreachable", lambda: put(pair(), "nodes.holder.ssh", "unreachable"), host=HOLDER),
    note("node-unread", lambda: put(pair(), "nodes.holder.ssh", "failed"), host=HOLDER),
    failure("engine-errors", lambda: http_error(pair(), "receiver", 500), "a server that answers 500", RECEIVER),
    failure("engine-errors", lambda: all_failing("receiver", "stream"), "every stream is cut", RECEIVER),
    failure("engine-errors", lambda: all_failing("holder", "http", 404), "every seed gets 404", HOLDER),
    failure("engine-hangs", lambda: hung("receiver"), "a receiver that is stopped in the middle", RECEIVER),
    failure("engine-hangs", lambda: hung("holder"), "a holder that is stopped in the middle", HOLDER),
    failure("engine-gone", lambda: gone("receiver"), "a receiver that is killed in the middle", RECEIVER),
    failure("engine-gone", lambda: gone("holder"), "a holder that is killed in the middle", HOLDER),
    validity("request-refused", lambda: http_error(pair(), "receiver", 401)),
    failure(
        "model-not-served",
        lambda: put(http_error(pair(), "receiver", 200), "probe.engines.receiver.models", ["another"]),
        host=RECEIVER,
    ),
    note("metrics-missing", lambda: put(pair(), "probe.engines.holder.metrics.after.lmcache", False), host=HOLDER),
    note(
        "metrics-missing",
        lambda: put(pair(), "probe.engines.receiver.metrics.after", {"state": "not-prometheus", "error": None}),
        "metrics that are HTML",
        host=RECEIVER,
    ),
    note("process-unreadable", lambda: put(pair(), "nodes.holder.engine.unseen", ["environ"]), host=HOLDER),
    # link 3: the cache layer
    cause("lmcache-degraded", degraded, host=RECEIVER),
    cause("lmcache-degraded", answered_503, "the worker's /backends answers 503", RECEIVER),
    cause(
        "lmcache-degraded",
        lambda: put(degraded(MISSED), "nodes.receiver.log.events", [event("unhealthy", operation="store")]),
        "LMCache unhealthy while it runs",
        RECEIVER,
    ),
    cause(
        "p2p-backend-missing",
        lambda: put(
            put(pair(*MISSED), "nodes.holder.backends", ["LocalCPUBackend"]),
            "nodes.holder.internal_api",
            {"url": "http://127.0.0.13:6999", "state": "ok", "status": 200},
        ),
        host=HOLDER,
    ),
    cause("p2p-bind-failed", lambda: cannot_bind(blackhole(pair(*LOST))), host=HOLDER),
    warned("p2p-bind-failed", lambda: cannot_bind(pair(), "receiver"), "the receiver cannot bind, and fetches"),
    cause("connector-missing", lambda: without_connector(pair(*MISSED)), host=RECEIVER),
    # link 4: configured alike
    cause("p2p-settings-incomplete", lambda: incomplete("p2p_host", pair()), host=RECEIVER),
    cause("p2p-settings-incomplete", lambda: incomplete("enable_controller", pair()), "no controller", RECEIVER),
    cause("p2p-settings-incomplete", lambda: refused_by_lmcache(pair()), "the log says what is required", HOLDER),
    cause("tensor-parallel-p2p", lambda: in_process_ranks(every_rank_stored(pair(*MISSED))), host=RECEIVER),
    cause("tensor-parallel-p2p", lambda: in_process_ranks(every_rank_stored(pair(*MISSED)), None), "of any release"),
    beside("tensor-parallel-p2p", lambda: in_process_ranks(every_rank_stored(pair(*MISSED)), "0.9.1"), "warning"),
    beside("rank-without-hits", lambda: in_process_ranks(pair(*MISSED)), "cause"),
    cause("pd-excludes-p2p", lambda: both_on(pair()), host=RECEIVER),
    cause(
        "pd-excludes-p2p",
        lambda: add_head(unreachable_engine(pair(), "holder"), "holder", "pd_p2p_conflict", line="AssertionError: PD"),
        "the log has the assertion",
        HOLDER,
    ),
    cause("p2p-disabled", lambda: setting(pair(*MISSED), "receiver", "enable_p2p", False), host=RECEIVER),
    cause("p2p-disabled", lambda: setting(pair(*MISSED), "holder", "enable_p2p", "yes"), "the string yes", HOLDER),
    cause(
        "p2p-disabled",
        lambda: setting(pair(*MISSED), "holder", "enable_p2p", False, "file"),
        "only the file could be read",
        HOLDER,
    ),
    cause(
        "p2p-disabled", lambda: setting(pair(*LOST), "holder", "enable_p2p", False), "and all lookups time out", HOLDER
    ),
    warned("p2p-disabled", lambda: setting(pair(), "receiver", "enable_p2p", False)),
    cause(
        "async-loading-off", lambda: setting(pair(*MISSED), "receiver", "enable_async_loading", False), host=RECEIVER
    ),
    warned("async-loading-off", lambda: setting(pair(), "receiver", "enable_async_loading", False)),
    cause("local-cpu-off", lambda: setting(not_announced(pair(*MISSED)), "holder", "local_cpu", False), host=HOLDER),
    warned("local-cpu-off", lambda: setting(pair(), "holder", "local_cpu", False)),
    cause(
        "hash-seed-differs",
        lambda: put(pair(*MISSED), "nodes.receiver.log.head[2].value", "77"),
        host=RECEIVER,
    ),
    cause(
        "hash-seed-differs",
        lambda: put(no_log(pair(*MISSED), "holder"), "nodes.receiver.engine.env.PYTHONHASHSEED", "1"),
        "by the environment, without NONE_HASH",
    ),
    cause(
        "hash-seed-differs",
        lambda: put(
            put(no_log(pair(*MISSED)), "nodes.receiver.engine.env", {}), "nodes.holder.engine.env", {"HOME": "/root"}
        ),
        "set on neither node",
    ),
    warned("hash-seed-differs", lambda: put(pair(), "nodes.receiver.log.head[2].value", "77")),
    cause(
        "hash-algorithm-differs",
        lambda: setting(pair(*MISSED), "receiver", "pre_caching_hash_algorithm", "sha256_cbor"),
        host=RECEIVER,
    ),
    cause("chunk-size-differs", lambda: setting(pair(*MISSED), "holder", "chunk_size", 128), host=RECEIVER),
    cause(
        "chunk-size-differs",
        lambda: setting(pair(*LOST), "holder", "chunk_size", 128),
        "chunk-size-differs, and all lookups time out",
    ),
    warned("chunk-size-differs", lambda: setting(pair(), "holder", "chunk_size", 128)),
    cause("model-path-differs", lambda: put(pair(*MISSED), "nodes.receiver.meta.model_name", "/other"), host=RECEIVER),
    cause(
        "model-path-differs",
        lambda: put(
            put(no_log(pair(*MISSED)), "nodes.receiver.meta", None), "probe.engines.receiver.model_root", "/other"
        ),
        "by /v1/models alone",
    ),
    cause("kv-format-differs", lambda: put(pair(*MISSED), "nodes.receiver.meta.world_size", 2), host=RECEIVER),
    cause(
        "kv-format-differs",
        lambda: put(pair(*MISSED), "nodes.holder.meta.kv_shape", "(4, 2, 256, 8, 32)"),
        "another shape",
    ),
    cause("p2p-host-not-ours", lambda: foreign_host(no_peer_asked(pair(*LOST))), host=HOLDER),
    cause("p2p-host-not-ours", lambda: loopback_host(no_peer_asked(pair(*LOST))), "localhost on two hosts", HOLDER),
    warned("p2p-host-not-ours", lambda: foreign_host(pair())),
    warned("config-key-unknown", unknown_key, "config-key-unknown"),
    warned(
        "config-not-reloaded",
        lambda: put(pair(), "nodes.holder.config_file.values.local_cpu", False),
        "config-not-reloaded",
    ),
    note("versions-differ", lambda: put(pair(), "nodes.receiver.versions.lmcache", "0.4.1"), host=RECEIVER),
    note("versions-differ", lambda: builds("0.5.6-g3e11e108", "0.5.6-g0000aaaa"), "another build", host=RECEIVER),
    note("version-unknown", lambda: put(pair(), "nodes.receiver.versions.lmcache", "0.6.0"), host=RECEIVER),
    note("version-unknown", lambda: put(pair(), "nodes.holder.versions.vllm", "0.11.2"), "older", host=HOLDER),
    # link 5: registered
    cause("controller-down", lambda: controller_gone(pair(*LOST)), host="controller-1"),
    cause(
        "controller-down",
        lambda: no_controller(controller_gone(pair(*LOST))),
        "nobody could look at its host",
    ),
    cause("controller-bound-to-localhost", lambda: for_itself_alone(pair(*LOST)), host="controller-1"),
    cause(
        "controller-unreachable-from-node",
        lambda: dial(pair(*LOST), "receiver", "controller-pull", "timeout"),
        host=RECEIVER,
    ),
    warned("controller-unreachable-from-node", lambda: dial(pair(), "receiver", "controller-pull", "timeout")),
    cause("instance-id-duplicate", lambda: same_id(pair(*MISSED)), host=RECEIVER),
    warned("instance-id-duplicate", lambda: same_id(pair())),
    cause("not-registered", lambda: unlisted(pair(*LOST), "receiver"), host=RECEIVER),
    cause(
        "not-registered",
        lambda: no_controller(
            add_head(pair(*LOST), "receiver", "register_failed", text="", line="Failed to register with controller")
        ),
        "the log says that registration failed",
        RECEIVER,
    ),
    cause("registered-elsewhere", lambda: listed_elsewhere(no_peer_asked(pair(*LOST))), host=HOLDER),
    cause("p2p-port-unreachable", lambda: blackhole(pair(*LOST)), host=HOLDER),
    warned("p2p-port-unreachable", lambda: dial(pair(), "receiver", "peer-init", "timeout")),
    # link 6: the experiment
    validity("prompt-shorter-than-chunk", lambda: refused_prompt("prompt-shorter-than-chunk")),
    validity("prompt-shorter-than-chunk", short_prefix, "sent, and shorter than the cluster's chunks"),
    validity("prompt-does-not-fit", lambda: refused_prompt("probe-too-big")),
    validity("below-min-retrieve", lambda: pair(*("below-min",) * 3)),
    validity(
        "below-min-retrieve",
        lambda: setting(pair(*MISSED), "receiver", "min_retrieve_tokens", 2 * HIT),
        "below-min-retrieve by the configuration",
    ),
    validity("same-engine-answers", lambda: seeds_astray(*("local",) * 3)),
    validity("same-engine-answers", lambda: seeds_astray(*("masked",) * 3), "its prefix cache is on"),
    validity("prefix-cache-masks", lambda: pair(*("masked",) * 3)),
    validity("reused-from-shared-store", lambda: from_store(pair(*("local",) * 3))),
    validity("reused-locally-not-p2p", lambda: pair(*("local",) * 3)),
    validity("reuse-unattributed", lambda: no_log(pair()), "no log of either"),
    validity("reuse-unattributed", lambda: no_nodes(pair()), "seed mode without logs"),
    validity("other-engine-unproven", lambda: put(no_nodes(pair()), "source", "any"), "nothing was counted"),
    validity(
        "same-engine-answers",
        lambda: started(no_nodes(anywhere(pair())), 1795480000.25, 1795480000.25),
        "one process behind both URLs",
    ),
    validity("control-hit", lambda: put(pair(), "nodes.receiver.log.events[6].hit", HIT), "a knock-out that hit"),
    validity(
        "control-hit",
        lambda: put(no_log(pair(), "receiver"), "probe.never_seen.cached_tokens", PROMPT),
        "a never-seen prompt that hit",
    ),
    validity("controls-unread", lambda: put(pair(), "probe.never_seen", None), "no never-seen control"),
    validity(
        "controls-unread",
        lambda: knockout_failed(pair()),
        "a knock-out that failed",
    ),
    validity("experiment-incomplete", lambda: put(pair(), "probe", None), "no probe at all"),
    validity(
        "experiment-incomplete",
        lambda: put(put(pair(), "probe.trials", []), "probe.skipped", "check mode"),
        "check mode",
    ),
    validity("experiment-incomplete", cut_off, "one trial of three"),
    validity("experiment-incomplete", lambda: pair("proven", "proven", "unsent"), "cut off before the last reuse"),
    validity("check-failed", lambda: put(pair(), "architecture", "of the future"), "an unknown architecture"),
    validity("requests-withheld", withheld, "nothing was sent"),
    validity("architecture-differs", lambda: runs_nixl(pair(*MISSED), "receiver"), "another connector"),
    validity("architecture-differs", lambda: runs_nixl(withheld(), "holder", "receiver"), "both another"),
    note("not-idle", lambda: others(pair()), host=RECEIVER),
    failure("router-not-disaggregating", lambda: through(nixl_pair(), *[ALONE] * 3), host=ROUTER),
    failure("router-drops-kv", lambda: through(nixl_pair(), *[TWICE] * 3), host=ROUTER),
    failure(
        "router-prompt-differs",
        lambda: through(nixl_pair(), *[{**DISAGGREGATED, RECEIVER: counted(PROMPT - 8, loaded=PROMPT - 8)}] * 3),
        host=ROUTER,
    ),
    failure(
        "router-output-differs",
        lambda: answering(through(nixl_pair(), *[DISAGGREGATED] * 3), 1.0, 1.0, 0.0),
        host=ROUTER,
    ),
    failure("router-unreachable", lambda: refused(pair()), host=ROUTER),
    warned("router-prompt-changed", lambda: through(pair(), {HOLDER: counted(64)}, {RECEIVER: counted(64)})),
    warned("router-in-part", lambda: through(nixl_pair(), DISAGGREGATED, ALONE, DISAGGREGATED)),
    warned("router-elsewhere", lambda: through(pair(), {}, {}, {})),
    note("router-one-engine", lambda: through(pair(), *[ALONE] * 3), host=ROUTER),
    note("router-unproven", lambda: unsent(pd_pair(), "a sender ends by it"), host=ROUTER),
    # link 7 to 11: outcomes
    cause("nothing-stored", no_seed_stored, host=HOLDER),
    note("log-unreadable", lambda: no_log(pair(), "holder"), host=HOLDER),
    note("log-level-hides-evidence", lambda: quiet_log(pair(), "receiver"), host=RECEIVER),
    note("log-without-this-run", lambda: another_log(pair(), "receiver"), host=RECEIVER),
    cause("not-announced", lambda: not_announced(pair(*MISSED)), host=HOLDER),
    cause("pool-exhausted", waiting_for_room, host=RECEIVER),
    cause("pool-exhausted", lambda: short_of_room(no_seed_stored()), "no room for a chunk", HOLDER),
    warned("pool-exhausted", lambda: short_of_room(stored_in_part(partial())), "room for a part of the prompt"),
    validity("announced-late", lambda: late(pair(*MISSED))),
    validity("lookup-timed-out", lambda: pair(*LOST)),
    validity("lookup-timed-out", slow_engine, "a slow engine without a log"),
    validity("lookup-timed-out", beside_a_stall, "plain misses beside a stall"),
    warned("lookup-timed-out", lambda: pair("proven", "timed-out", "proven"), "one of three lost"),
    validity("reuse-intermittent", lambda: pair("proven", "missed", "proven"), "one of three missed"),
    validity("reuse-intermittent", lambda: pair("missed"), "one trial, missed"),
    failure("reuse-absent", lambda: pair(*MISSED), host=RECEIVER),
    cause("peer-error", lambda: pair(*("peer-error",) * 3), host=HOLDER),
    cause("peer-silent", lambda: named_in_vain(pair(*LOST)), host=HOLDER),
    cause("transfer-hangs", lambda: transfers(None), host=HOLDER),
    cause("transfer-too-slow", lambda: transfers(4.5), host=HOLDER),
    failure("load-failed", lambda: pair(*("load-failed",) * 3), host=RECEIVER),
    failure("load-failed", failed_in_the_load, "and the requests fail", RECEIVER),
    validity("outcome-unread", lambda: untold(no_log(pair(), "receiver"))),
    warned("partial-reuse", partial, "partial-reuse"),
    # LMCache's prefill/decode transfer
    cause("pd-role-wrong", lambda: in_doubt("two senders"), host=RECEIVER),
    cause("pd-role-wrong", lambda: in_doubt("two receivers"), "two receivers", HOLDER),
    cause("pd-backend-failed", lambda: in_doubt("degraded"), host=HOLDER),
    cause("pd-backend-failed", lambda: in_doubt("no backend"), "no PD backend", RECEIVER),
    cause("pd-ranks-differ", lambda: in_doubt("ranks differ"), host=RECEIVER),
    cause("pd-port-not-held", lambda: in_doubt("init port closed"), host=RECEIVER),
    cause("pd-port-not-held", lambda: in_doubt("alloc port another's"), "another process has it", RECEIVER),
    cause("pd-port-unreachable", lambda: in_doubt("alloc port refuses"), host=RECEIVER),
    warned("pd-port-unreachable", lambda: dial(pd_pair(), "holder", "pd-init", "timeout")),
    cause("pd-receiver-restarted", lambda: pushes_lost("NIXL_ERR_REMOTE_DISCONNECT"), host=HOLDER),
    cause("pd-transfer-failed", lambda: pushes_lost("Failed to send objects to remote peer"), host=HOLDER),
    cause("pd-buffer-small", too_small, host=RECEIVER),
    # vLLM's NixlConnector
    failure("kv-not-offered", lambda: nixl_pair(*("unoffered",) * 3), host=HOLDER),
    failure("pd-recomputed", lambda: nixl_pair(*MISSED), host=RECEIVER),
    cause("nixl-transfer-failed", lambda: nixl_pair(*("failed",) * 3), host=RECEIVER),
    cause("nixl-transfer-failed", lambda: nixl_pair(*("refused",) * 3), "HTTP 500", RECEIVER),
    cause("nixl-transfer-failed", lambda: told_by_the_log(nixl_pair(*MISSED)), "by the log alone", RECEIVER),
    cause("side-channel-host", lambda: sent_home(nixl_pair(*("failed",) * 3)), host=HOLDER),
    warned("side-channel-host", lambda: sent_home(nixl_pair())),
    failure("kv-expired", lambda: read_late(nixl_pair()), host=HOLDER),
    # link 12 and 13
    failure("output-differs", lambda: damaged(0.9, 0.8, 0.7), host=RECEIVER),
    failure("output-differs", lambda: without_logprobs(OTHER_WORDS), "by the answers, without log-probabilities"),
    validity("output-unclear", lambda: damaged(0.9, 0.0, 0.0), "one trial that differs"),
    validity("output-unclear", lambda: answers("bytes", "bytes"), "answers that tell nothing"),
    note("answer-not-sensible", nonsense, host=RECEIVER),
    note("prompt-shortened", lambda: put(pair(), "probe.prompt.shortened", "2 of 4 chunks, so that 5 prompts fit")),
    failure(
        "speedup-below-limit", lambda: put(timed((0.1, 0.12), (0.1, 0.13), (0.1, 0.125)), "limits.min_speedup", 2.0)
    ),
    failure("ttft-above-limit", lambda: put(timed((0.1, 0.4), (0.11, 0.4), (0.1, 0.4)), "limits.max_ttft_ms", 50.0)),
    note("limit-undecided", lambda: put(timed((0.1, 0.12), (0.1, 0.13), (0.1, 0.3)), "limits.min_speedup", 1.4)),
    note(
        "limit-undecided",
        lambda: put(timed((0.1, 0.4)), "limits.max_ttft_ms", 50.0),
        "one trial has no interval, so no limit is missed",
    ),
    # multiprocess mode
    failure("reuse-absent", missed, "mp: missed, and nobody knows why"),
    failure("cache-server-down", server_gone, host="decode-1"),
    failure("cache-server-down", sick_server, "it says that it is not healthy", "prefill-1"),
    failure("engine-not-registered", restarted_server, host="decode-1"),
    validity("cache-server-mistaken", lambda: facts(restarted_server(), "receiver", port=5999)),
    validity("requests-withheld", lambda: nothing_sent(mp_pair(), "where the server answers is not known"), "mp"),
    validity("reused-locally-not-p2p", local, "mp: by the server's lines"),
    validity("reused-locally-not-p2p", lambda: unread_log(local()), "mp: by the server's counters"),
    validity("reused-from-shared-store", from_another_adapter, "mp: another L2 adapter"),
    validity("reuse-unattributed", lambda: unread_log(without_windows(mp_pair())), "mp: neither lines nor counters"),
    validity("reuse-unattributed", unserved_by_the_holder, "mp: the holder's server gave nothing"),
    failure("load-failed", taken_from_nowhere, "mp: by vLLM's counters", "decode-1"),
    validity("prefix-cache-masks", masked_by_vllm, "mp: by the answer's statistics"),
    cause("p2p-disabled", lambda: facts(missed(), "holder", p2p_enabled=False), "mp", "prefill-1"),
    cause("chunk-size-differs", lambda: facts(missed(), "receiver", chunk_size=128), "mp", "decode-1"),
    cause("hash-algorithm-differs", lambda: facts(missed(), "receiver", hash_algorithm="sha256_cbor"), "mp: hash"),
    warned("hash-algorithm-differs", lambda: facts(mp_pair(), "receiver", hash_algorithm="sha256_cbor")),
    cause("server-on-another-node", lambda: elsewhere(missed()), host="decode-1"),
    warned("server-on-another-node", lambda: elsewhere(mp_pair())),
    cause("coordinator-down", coordinator_gone, host="coordinator-1"),
    cause("coordinator-differs", lambda: two_coordinators(missed()), host="decode-1"),
    cause("server-not-registered", lambda: facts(missed(), "holder", **UNREGISTERED), host="prefill-1"),
    warned("server-not-registered", lambda: facts(mp_pair(), "holder", **UNREGISTERED)),
    note("coordinator-restarted", lambda: facts(mp_pair(), "holder", started_at=1.0), host="prefill-1"),
    cause("p2p-advertise-not-ours", lambda: advertised(missed(), "10.9.9.9", False), host="prefill-1"),
    cause("p2p-advertise-not-ours", lambda: advertised(missed(), "localhost", True), "localhost", "prefill-1"),
    cause("p2p-advertise-not-ours", lambda: unresolved(missed()), "unresolved", "prefill-1"),
    warned("p2p-advertise-not-ours", lambda: advertised(mp_pair(), "10.9.9.9", False)),
    cause("p2p-port-unreachable", lambda: shut(missed()), "mp", "prefill-1"),
    cause("cache-pool-too-small", lambda: dropping(missed()), host="prefill-1"),
    warned("cache-pool-too-small", lambda: dropping(mp_pair())),
    cause("nothing-stored", lambda: unwritten(missed()), "mp", "prefill-1"),
    note("log-unreadable", lambda: unread_log(mp_pair()), "mp: the counters stand in for it", host="decode-1"),
    cause("port-taken", lambda: side_channel_taken(nixl_pair()), host=HOLDER),
    cause("remote-store-down", lambda: store_lost(put(pair(*MISSED), "source", "any")), host=HOLDER),
    warned("remote-store-down", lambda: store_lost(pair())),
    cause("connector-missing", lambda: plain_beside(nixl_pair()), "beside another's", HOLDER),
    cause("rank-without-hits", lambda: on_two_ranks(missed(), written=4, ranks={"0": 4, "1": 0}), host="prefill-1"),
    cause("rank-without-hits", lambda: on_two_ranks(missed(), written=4), "by what was written", "prefill-1"),
    cause("rank-without-hits", lambda: one_rank_unregistered(missed()), "not registered", "decode-1"),
    warned("rank-without-hits", lambda: one_rank_unregistered(mp_pair())),
    failure("reuse-absent", lambda: on_two_ranks(missed(), written=8, ranks={"0": 4, "1": 4}), "all ranks stored"),
    cause("connector-mixed", lambda: stray_server(setting(pair(*MISSED), "holder", "enable_p2p", False)), host=HOLDER),
    warned("connector-mixed", lambda: stray_server(pair())),
    note("not-faster", lambda: put(put(pair("proven"), "probe.trials[0].reuse.ttft_s", 0.4), "cluster", "demo")),
]


def test_a_cache_server_of_another_engine_is_none_of_this_ones():
    off = setting(pair(*MISSED), "holder", "enable_p2p", False)
    roles = [
        {f["slug"]: f["role"] for f in judge(stray_server(json.loads(json.dumps(off)), engines))["findings"]}
        for engines in (["8877"], None, [])
    ]
    assert [its.get("connector-mixed") for its in roles] == [None, "warning", "cause"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_finding_appears(case):
    verdict = judge(case.build())
    shown = [(f["slug"], f["role"]) for f in verdict["findings"]]
    assert (case.slug, case.role) in shown
    assert verdict["verdict"] == case.verdict, shown
    mine = next(f for f in verdict["findings"] if f["slug"] == case.slug and f["role"] == case.role)
    if case.first:
        assert shown[0] == (case.slug, case.role)
        assert verdict["findings"][0] is mine
    if case.host:
        assert mine["host"] == case.host
    assert all(mine[field] for field in ("expected", "observed", "reason", "remedy", "title", "source"))
    assert mine["doc"] == f"docs/findings/{case.slug}.md"


#: Of lines and errors that a finding quotes as they were read, and of reasons that these documents make up.
ENGINES_SAY = {
    "already in use",
    "compatibility hash mismatch",
    "connection failed in contains",
    "eviction candidates found in local cpu backend",
    "is required and cannot be empty when enable",
    "no such backend",
    "to register with controller",
    "to send objects to remote peer",
    "both run the connector",
    "cut the stream before its end",
    "it broke the answer off",
    "nothing listens at http",
    "out of time",
    "sender ends by it",
    "the longest prompt that fits is too short",
    "where the server answers is not known",
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_word_of_it_is_translated(case):
    verdict = judge(case.build())
    with speaking("ja"):
        left = {found for text in sentences(translated_pair(verdict)) if (found := english(text))}
    assert left - ENGINES_SAY == set()


def test_tools_of_others_read_what_is_written_of_every_finding():
    if missing := readers.missing():
        pytest.skip(f"not installed: {', '.join(missing)} (requirements-dev.txt)")
    built = [(f"c{number}", case.build()) for number, case in enumerate(CASES)]
    pairs = [{**timed_verdict(judge(document), document), "cluster": cluster} for cluster, document in built]
    assert readers.complaints(verdicts.document(*pairs, exit_code=2)) == []


def test_a_healthy_pair_has_no_finding():
    verdict = judge(pair())
    assert (verdict["verdict"], verdict["findings"], verdict["check_errors"]) == ("pass", [], [])
    assert [link["state"] for link in verdict["links"]] == ["holds"] * 13


def test_what_is_no_finding():
    for document in (
        builds("0.5.6-g3e11e108", "0.5.6"),  # the log tells the build, the internal API the release alone
        short_of_room(pair()),  # others' load: the probe's KV was all there
        transfers(0.2),  # the lookup was lost elsewhere
    ):
        shown = {f["slug"] for f in judge(document)["findings"]}
        assert not shown & {"versions-differ", "pool-exhausted", "transfer-too-slow", "transfer-hangs"}


def test_other_seeds_and_other_algorithms_are_told_apart():
    """NONE_HASH differs with the algorithm, too; the seeds are blamed only where they do differ."""
    document = setting(pair(*MISSED), "receiver", "pre_caching_hash_algorithm", "sha256_cbor")
    put(document, "nodes.receiver.log.head[2].value", "77")
    assert [f["slug"] for f in judge(document)["findings"] if f["role"] == "cause"] == ["hash-algorithm-differs"]


def test_every_finding_is_proven_here():
    known = {f.slug for f in all_findings() if f.look}
    shown = {case.slug for case in CASES}
    assert shown == known


def test_every_cause_is_seen_as_a_warning_or_explained_as_one():
    """A condition that was proven away is a warning; those that cannot stand beside a proof are named here."""
    never = {
        "lmcache-degraded",
        "p2p-backend-missing",
        "pd-excludes-p2p",
        "model-path-differs",
        "kv-format-differs",
        "controller-down",
        "not-registered",
        "registered-elsewhere",
        "nothing-stored",
        "not-announced",
        "peer-error",
        "connector-missing",
        "controller-bound-to-localhost",
        "p2p-settings-incomplete",
        "peer-silent",
        "transfer-hangs",
        "transfer-too-slow",
        "coordinator-down",
        "coordinator-differs",
        "pd-role-wrong",
        "pd-backend-failed",
        "pd-ranks-differ",
        "pd-port-not-held",
        "pd-receiver-restarted",
        "pd-transfer-failed",
        "pd-buffer-small",
        "nixl-transfer-failed",
        "port-taken",
    }
    warned_of = {case.slug for case in CASES if case.role == "warning"}
    causes = {f.slug for f in all_findings() if f.kind == "cause" and f.look}
    assert causes - warned_of == never


@pytest.mark.parametrize("finding", all_findings(), ids=lambda f: f.slug)
def test_texts_of_a_finding(finding):
    for witness in (finding.look, finding.pasted):
        assert not hasattr(witness, "__name__") or witness.__module__.endswith("." + finding.slug.replace("-", "_"))
    assert finding.kind in ("cause", "failure", "validity", "note")
    assert 1 <= finding.link <= 13
    for text in (finding.title, finding.meaning, finding.evidence, finding.remedy, finding.source):
        assert text.strip() == text != ""
    known = {f.slug for f in all_findings()}
    assert set(finding.covers) <= known
    assert finding.explains <= {"missed", "timed-out", "slow", "load-failed", "engine-down", "withheld"}


def test_a_log_that_both_engines_may_write_to_does_not_prove_one_engine():
    document = no_log(seeds_astray(*("local",) * 3), "holder")
    assert "same-engine-answers" not in [one["slug"] for one in judge(document)["findings"]]


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        (
            "nodes.holder.engine.options",
            {"kv-transfer-config": {"kv_connector_extra_config": {"lmcache.local_cpu": True}}},
            "kv_connector_extra_config on the engine's command line sets local_cpu",
        ),
        ("nodes.holder.engine.env", {"LMCACHE_LOCAL_CPU": "true"}, "the environment sets local_cpu"),
    ],
)
def test_the_layer_that_overrides_the_file_is_named(path, value, why):
    document = put(put(pair(), "nodes.holder.config_file.values.local_cpu", False), path, value)
    [found] = [one for one in judge(document)["findings"] if one["slug"] == "config-not-reloaded"]
    assert found["reason"] == why


def test_a_failed_start_is_quoted_by_its_exception():
    document = degraded()
    [event] = [one for one in document["nodes"]["receiver"]["log"]["head"] if one["kind"] == "degraded"][:1]
    event.update(line="LMCache ERROR: Failed: Traceback (most recent call last):", text="ValueError: no such device")
    [found] = [one for one in judge(document)["findings"] if one["slug"] == "lmcache-degraded"]
    assert found["observed"] == "ValueError: no such device"
