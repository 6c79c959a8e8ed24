"""Evidence documents to judge: a whole healthy pair as docs/evidence.md describes it, and ways to break one thing.

``pair(...)`` builds a document in which every witness tells the same story: one outcome per fresh prompt, told by
both logs, the responses, the counters and the controller.  The other functions change such a document in place and
return it, so that a test reads as what it breaks.
"""

from __future__ import annotations

import copy
import re

RUN = "k3f9a1c2b"
CHUNK, CHUNKS, PROMPT = 256, 4, 1077
HIT = CHUNK * CHUNKS
COLD_S, WARM_S, TIMEOUT_S = 0.2, 0.05, 3.0
ROLES = {"holder": "prefill-1", "receiver": "decode-1"}
ADDRESS = {"holder": "127.0.0.13", "receiver": "127.0.0.97", "controller": "127.0.0.5"}
WORDS = "stone rocket kettle yellow silver zebra jungle ladder"
OTHER_WORDS = "pepper saddle temple basket button copper dragon ginger"

CONFIG = {
    "chunk_size": CHUNK,
    "local_cpu": True,
    "max_local_cpu_size": 0.5,
    "enable_async_loading": True,
    "enable_p2p": True,
    "enable_pd": False,
    "p2p_init_ports": [8200],
    "p2p_lookup_ports": [8201],
    "transfer_channel": "nixl",
    "enable_controller": True,
    "controller_pull_url": "127.0.0.5:8300",
    "controller_reply_url": "127.0.0.5:8400",
    "lookup_timeout_ms": 3000,
    "min_retrieve_tokens": 0,
    "pre_caching_hash_algorithm": "builtin",
    "remote_url": None,
    "local_disk": None,
}
META = {
    "model_name": "/opt/kv/model",
    "world_size": 1,
    "kv_dtype": "torch.bfloat16",
    "kv_shape": [4, 2, 256, 2, 32],
    "use_mla": False,
    "chunk_size": CHUNK,
}


# ---- requests


def logprobs(text: str, shift: float = 0.0) -> list[dict]:
    """Log-probabilities of an answer: its words, each with four runners-up, all moved by ``shift`` nats."""
    found = []
    for word in text.split():
        top = {word: -0.4 + shift, **{f"{word}{n}": -1.5 - n - shift for n in range(1, 5)}}
        found.append({"token": word, "logprob": top[word], "top": top})
    return found


def request(role: str, engine: str, label: str, cached: int | None = 0, ttft_s: float = COLD_S, **more) -> dict:
    """REQUEST that was answered well."""
    text = more.get("text", WORDS)
    return {
        "role": role,
        "engine": engine,
        "request_id": f"kvp-{RUN}-{label}",
        "response_id": f"cmpl-kvp-{RUN}-{label}",
        "sent_at": 1795487061.2,
        "ttft_s": ttft_s,
        "total_s": ttft_s + 0.03,
        "itl_s": {"n": 7, "mean": 0.004, "p50": 0.004, "max": 0.009},
        "tpot_s": 0.004,
        "prompt_tokens": PROMPT,
        "cached_tokens": cached,
        "completion_tokens": 8,
        "finish_reason": "length",
        "text": text,
        "logprobs": logprobs(text),
        "error": None,
        **more,
    }


def failed(document: dict, kind: str = "http", status: int | None = 500, text: str = "it failed") -> dict:
    """A REQUEST turned into one that failed."""
    document.update(error={"kind": kind, "status": status, "text": text}, ttft_s=None, cached_tokens=None)
    document.update(response_id=None, text="", logprobs=None, finish_reason=None, completion_tokens=None)
    return document


# ---- log lines


def logged_id(label: str) -> str:
    return f"cmpl-kvp-{RUN}-{label}-0-1a2b3c4d"


def event(kind: str, label: str | None = None, **fields) -> dict:
    found = {"kind": kind, "at": "2026-11-24 02:24:29,175", "offset": 4096, **fields}
    return found if label is None else {**found, "id": logged_id(label)}


def layout(chunks: int = CHUNKS, instance: str = ROLES["holder"]) -> dict:
    """The controller's answer to a lookup; without chunks the empty one."""
    if not chunks:
        return event("layout", instance="", location="", chunks=0, peer="")
    peer = f"{ADDRESS['holder']}:8200"
    return event("layout", instance=instance, location="LocalCPUBackend", chunks=chunks, peer=peer)


def looked_up(label: str, hit: int = 0, computed: int = 0, need: int | None = None) -> dict:
    need = max(hit - computed, 0) if need is None else need
    return event("looked_up", label, total=PROMPT, computed=computed, hit=hit, need=need)


def hit_lines(label: str, tokens: int = HIT) -> list[dict]:
    return [
        event("responded", label, length=tokens),
        looked_up(label, tokens),
        event("retrieved", label, tokens=tokens, required=tokens, total=tokens),
    ]


def reuse_lines(outcome: str, label: str) -> list[dict]:
    """What the receiver's log says of a reuse with this outcome."""
    if outcome == "timed-out":
        line = f"LMCache WARNING: Request {logged_id(label)} is still waiting for async lookup after 3 seconds"
        return [event("lookup_timed_out", label, seconds=3, line=line), looked_up(label)]
    if outcome == "masked":
        return [looked_up(label, HIT, computed=HIT, need=0)]
    if outcome == "below-min":
        return [layout(), event("below_min_retrieve", label, total=PROMPT, computed=0, hit=HIT, need=HIT)]
    if outcome == "peer-error":
        return [layout(), event("peer_error", label, code="P2P_SERVER_ERROR"), looked_up(label)]
    if outcome == "local":
        return hit_lines(label)
    if outcome in ("proven", "load-failed"):
        lines = [layout(), *hit_lines(label)]
        if outcome == "load-failed":
            lines[-1]["tokens"] = 0
        return lines
    return [layout(0), looked_up(label)]


HITS = ("proven", "local", "load-failed")
ASKED = ("proven", "load-failed", "below-min", "peer-error")


# ---- the pair


def pair(*outcomes: str, **more) -> dict:
    """A document whose fresh prompts ended so: "proven" three times where none is named.

    Also "error" (the reuse failed with HTTP 500) and "unsent" (cut off after the seed).
    """
    outcomes = outcomes or ("proven",) * 3
    logs: dict[str, list[dict]] = {"holder": [], "receiver": []}
    trials = [_trial(index, outcome, logs) for index, outcome in enumerate(outcomes)]
    for label in ("never", "recompute"):
        logs["receiver"] += [layout(0), looked_up(label)]
    document = {
        "schema": "kvproof.evidence/1",
        "tool": "test",
        "cluster": "demo",
        "mode": "inventory",
        "architecture": "inprocess_p2p",
        "pair": dict(ROLES),
        "probe": _probe(trials),
        "nodes": {role: _node(role, logs[role], trials) for role in ROLES},
        "controllers": [controller(len(trials) * CHUNKS if "proven" in outcomes else 0)],
        **more,
    }
    return count(document)


def _trial(index: int, outcome: str, logs: dict[str, list[dict]]) -> dict:
    seed, reuse, knockout = (f"{index}-{role}" for role in ("seed", "reuse", "knockout"))
    logs["holder"] += [
        looked_up(seed),
        event("stored", seed, tokens=HIT, total=PROMPT),
        *([event("peer_asked", reuse), event("transfer_finished", n=index)] if outcome in ASKED else []),
    ]
    sent = request("reuse", "receiver", reuse)
    if outcome in HITS:
        sent.update(cached_tokens=HIT, ttft_s=COLD_S if outcome == "load-failed" else WARM_S)
    elif outcome == "masked":
        sent.update(cached_tokens=PROMPT - 1, ttft_s=WARM_S)
    elif outcome == "timed-out":
        sent.update(ttft_s=TIMEOUT_S + COLD_S)
    elif outcome == "error":
        failed(sent)
    if outcome not in ("error", "unsent"):
        found = outcome not in ("missed", "timed-out", "local", "masked")
        logs["receiver"] += [
            *reuse_lines(outcome, reuse),
            layout(CHUNKS if found else 0),
            *([event("peer_error", knockout, code="P2P_SERVER_ERROR")] if found else []),
            looked_up(knockout),
        ]
    return {
        "index": index,
        "attempt": 0,
        "order": "reuse-first",
        "prefix_tokens": HIT + 33,
        "expected_hit": HIT,
        "expected_text": WORDS,
        "seed": request("seed", "holder", seed),
        "visible": {"how": "key_count", "reached": True, "waited_s": 0.061, "limit_s": 5.0},
        "reuse": None if outcome == "unsent" else sent,
        "knockout": None if outcome == "unsent" else request("knockout", "receiver", knockout),
        "repeat": None,
        "knockout_how": "none" if outcome == "unsent" else "tag",
        "prompt_kv_tokens": PROMPT,
    }


def length(asked: int, *pairs: tuple[float, float], hit: int | None = None, **more) -> dict:
    """LENGTH with TTFT of (reuse, recompute) in seconds."""
    trials = []
    for number, (reused, cold) in enumerate(pairs):
        label = f"len{asked}.{number}"
        trials.append(
            {
                "expected_hit": asked,
                "seed": request("seed", "holder", f"{label}-seed", ttft_s=cold),
                "visible": None,
                "reuse": request("reuse", "receiver", f"{label}-reuse", asked if hit is None else hit, reused),
                "knockout": request("knockout", "receiver", f"{label}-knockout", 0, cold),
            }
        )
    return {"asked": asked, "tokens": asked + 30 if pairs else None, "skipped": None, "trials": trials, **more}


def _probe(trials: list[dict]) -> dict:
    return {
        "schema": "kvproof.probe/1",
        "run_id": RUN,
        "cluster": "demo",
        "skipped": None,
        "started_at": 1795487060.08,
        "duration_s": 2.31,
        "settings": {
            "trials": len(trials),
            "extra_attempts": 2,
            "chunks": CHUNKS,
            "wait_s": 5.0,
            "deadline_s": 120.0,
            "max_tokens": 64,
            "flush_waited_s": None,
        },
        "engines": {role: _engine(role) for role in ROLES},
        "controller": {**controller(0), "ssh": "not-used", "name": None, "listening": None},
        "prompt": {
            "source": "tokenize",
            "estimated": False,
            "tokens": PROMPT,
            "prefix_tokens": HIT + 33,
            "chunk_size": CHUNK,
            "chunk_size_source": "default",
            "expected_hit": HIT,
            "refused": None,
        },
        "warmup": [request("warmup", role, f"warmup-{role}") for role in ROLES],
        "trials": trials,
        "never_seen": request("never_seen", "receiver", "never", text=OTHER_WORDS),
        "recompute": request("recompute", "receiver", "recompute"),
        "reference": None,
        "errors": [],
    }


def _engine(role: str) -> dict:
    return {
        "name": ROLES[role],
        "url": f"http://{ADDRESS[role]}:8000",
        "reachable": True,
        "error": None,
        "health": {"status": 200},
        "models": ["tiny"],
        "model": "tiny",
        "model_root": "/opt/kv/model",
        "max_model_len": 4096,
        "version": "0.32.0",
        "tokenize": True,
        "metrics": {"before": {}, "after": {}},
        "internal": None,
    }


def count(document: dict) -> dict:
    """Metrics pages of idle engines that count exactly the requests in the document."""
    probe = document["probe"]
    sent = [t[name] for t in probe["trials"] for name in ("seed", "reuse", "knockout", "repeat") if t[name]]
    sent += [probe[name] for name in ("never_seen", "recompute", "reference") if probe[name]]
    for role in ROLES:
        mine = [r for r in sent if r["engine"] == role and not r["error"]]
        told = [r["cached_tokens"] or 0 for r in mine]
        before = {
            "vllm:request_success_total": 2.0,
            "vllm:external_prefix_cache_queries_total": 2154.0,
            "vllm:external_prefix_cache_hits_total": 0.0,
            "vllm:num_requests_running": 0.0,
            "vllm:num_requests_waiting": 0.0,
            "lmcache:num_hit_tokens_total": 0.0,
            "lmcache:retrieve_hit_rate": 1.0,
            "lmcache:local_cpu_evict_keys_count_total": 0.0,
        }
        after = {
            **before,
            "vllm:request_success_total": 2.0 + len(mine),
            "vllm:external_prefix_cache_queries_total": 2154.0 + PROMPT * len(mine),
            "vllm:external_prefix_cache_hits_total": float(sum(hit for hit in told if hit <= HIT)),
        }
        page = {"state": "ok", "error": None, "lmcache": True, "at": 1795487060.1}
        probe["engines"][role]["metrics"] = {
            "before": {**page, "values": before},
            "after": {**page, "values": after},
        }
    return document


def _node(role: str, events: list[dict], trials: list[dict]) -> dict:
    config = {**CONFIG, "p2p_host": ADDRESS[role], "lmcache_instance_id": ROLES[role]}
    other = ADDRESS["receiver" if role == "holder" else "holder"]
    wanted = [trial["seed" if role == "holder" else "reuse"] for trial in trials]
    ids = [r["response_id"] for r in wanted if r and r["response_id"]]
    dials = {
        f"{other}:8200": "peer-init",
        f"{other}:8201": "peer-from-log",
        CONFIG["controller_pull_url"]: "controller-pull",
        CONFIG["controller_reply_url"]: "controller-reply",
    }
    return {
        "schema": "kvproof.node/1",
        "ssh": "ok",
        "ssh_reason": None,
        "hostname": f"host-{ROLES[role]}",
        "time": 1795487070.1,
        "user": "kvcheck",
        "uid": 1001,
        "addresses": ["127.0.0.1", ADDRESS[role]],
        "engine": {
            "port": 8000,
            "running": True,
            "pid": 7599,
            "user": "vllm",
            "started_at": 1795480000.0,
            "found_by": "socket",
            "listening": True,
            "options": {"model": "/opt/kv/model", "kv-transfer-config": {"kv_connector": "LMCacheConnectorV1"}},
            "env": {"PYTHONHASHSEED": "0", "LMCACHE_CONFIG_FILE": "/etc/lmcache.yaml"},
            "other_namespace": False,
            "unseen": [],
        },
        "config_file": {
            "path": "/etc/lmcache.yaml",
            "found_by": "environ",
            "state": "ok",
            "detail": None,
            "mtime": 1795470000.0,
            "values": dict(config),
            "keys_other": [],
        },
        "effective": {"source": "log", "values": dict(config)},
        "meta": dict(META),
        "backends": ["LocalCPUBackend", "P2PBackend"],
        "internal_api": {"url": None, "state": "off", "status": None},
        "versions": {"lmcache": "0.5.6", "vllm": "0.32.0"},
        "p2p_host": {"value": ADDRESS[role], "resolved": [ADDRESS[role]], "ours": True},
        "listening": [{"address": ADDRESS[role], "port": port} for port in (8000, 8200, 8201)],
        "dials": [{"to": to, "why": why, "state": "open", "ms": 0.4} for to, why in dials.items()],
        "log": {
            "schema": "kvproof.log/1",
            "source": {"file": "/var/log/vllm.log"},
            "found_by": "variable",
            "state": "ok",
            "detail": None,
            "size": 53777,
            "mtime": 1795487069.0,
            "bytes_read": 53777,
            "whole": True,
            "ids_wanted": list(ids),
            "ids_found": list(ids),
            "ids_missing": [],
            "head": head(role, config),
            "events": events,
            "levels": {"INFO": 60, "WARNING": 0, "ERROR": 0},
            "truncated": False,
        },
        "bytes_read": 53777,
        "duration_s": 0.12,
    }


def head(role: str, config: dict) -> list[dict]:
    """Start-up facts of one engine's log."""
    return [
        event("engine_started"),
        event("config_file", path="/etc/lmcache.yaml"),
        event("none_hash", value="-5066452213451"),
        event("hash_algorithm", name="builtin"),
        event("config", values=dict(config)),
        event("registering", instance=ROLES[role], worker=0),
        event("initialized", role="worker", lmcache="0.5.6", vllm="0.32.0", meta=dict(META)),
        event("backend_created", name="LocalCPUBackend"),
        event("backend_created", name="P2PBackend"),
        event("p2p_listening", address=f"tcp://{ADDRESS[role]}:8201"),
    ]


def controller(key_count: int = 0) -> dict:
    """CONTROLLER that lists both engines, the holder with so many keys."""
    workers = [
        {
            "instance_id": ROLES[role],
            "worker_id": 0,
            "ip": ADDRESS[role],
            "port": 8500,
            "peer_init_url": f"{ADDRESS[role]}:8200",
            "registration_time": 1795480001.0,
            "last_heartbeat_time": 1795480001.0,
            "key_count": key_count if role == "holder" else 0,
        }
        for role in ROLES
    ]
    return {
        "schema": "kvproof.controller/1",
        "name": "controller-1",
        "ssh": "ok",
        "url": f"http://{ADDRESS['controller']}:9000",
        "http": {"state": "ok", "status": 200, "text": None},
        "workers": workers,
        "process": {"running": True, "pid": 7500, "user": "vllm", "found_by": "socket", "unseen": []},
        "options": {"host": "0.0.0.0", "port": 9000, "monitor_ports": {"pull": 8300, "reply": 8400, "heartbeat": None}},
        "listening": [{"address": "0.0.0.0", "port": port} for port in (8300, 8400, 9000)],
    }


# ---- breaking one thing


def put(document: dict, path: str, value) -> dict:
    """Sets ``probe.trials[0].reuse.text`` and the like; a field that is not there yet is made."""
    *way, last = steps(path)
    place = document
    for step in way:
        place = place[step]
    place[last] = value
    return document


def get(document, path: str):
    for step in steps(path):
        document = document[step]
    return document


def steps(path: str) -> list:
    return [int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", path)]


def setting(document: dict, role: str, key: str, value, source: str = "effective") -> dict:
    """Another value in force on one node ("effective": the log and the file say so), or in its file alone ("file":
    nothing effective was read)."""
    node = document["nodes"][role]
    node["config_file"]["values"][key] = value
    if source == "effective":
        node["effective"]["values"][key] = value
        for one in node["log"]["head"]:
            if one["kind"] == "config":
                one["values"][key] = value
        return document
    node["effective"] = {"source": None, "values": {}}
    node["log"]["head"] = [one for one in node["log"]["head"] if one["kind"] != "config"]
    return document


def no_log(document: dict, *roles: str, state: str = "unreadable") -> dict:
    """The log of these nodes (of both, where none is named) could not be read."""
    for role in roles or ROLES:
        node = document["nodes"][role]
        log = node["log"]
        log.update(state=state, detail="permission denied", events=[], head=[], ids_found=[], levels={}, whole=False)
        log["ids_missing"] = log["ids_wanted"]
    return document


def no_nodes(document: dict) -> dict:
    """As in seed mode without log files: HTTP only."""
    document.update(nodes={"holder": None, "receiver": None}, controllers=[])
    document["probe"]["controller"] = None
    for trial in document["probe"]["trials"]:
        trial["visible"] = {"how": None, "reached": False, "waited_s": 5.0, "limit_s": 5.0}
    return document


def drop_events(document: dict, role: str, *kinds: str) -> dict:
    log = document["nodes"][role]["log"]
    log["events"] = [one for one in log["events"] if one["kind"] not in kinds]
    return document


def add_head(document: dict, role: str, kind: str, **fields) -> dict:
    document["nodes"][role]["log"]["head"].append(event(kind, **fields))
    return document


def dial(document: dict, role: str, why: str, state: str) -> dict:
    """All dials of a node with this purpose ended so."""
    for one in document["nodes"][role]["dials"]:
        if one["why"].startswith(why):
            one["state"] = state
    return document


def untold(document: dict) -> dict:
    """Responses without cached_tokens."""
    for trial in document["probe"]["trials"]:
        for name in ("seed", "reuse", "knockout", "repeat"):
            if trial[name]:
                trial[name]["cached_tokens"] = None
    for name in ("never_seen", "recompute"):
        document["probe"][name]["cached_tokens"] = None
    return document


def anywhere(document: dict) -> dict:
    """KV may come from anywhere, and the pages of metrics, one of them between seeds and reuses, count every token."""
    probe, asked = document["probe"], dict.fromkeys(ROLES, 0.0)
    document["source"] = "any"
    for trial in probe["trials"]:
        trial["seed"]["sent_at"] = 1795487060.5
        for name in ("seed", "reuse", "knockout", "repeat"):
            if trial[name]:
                asked[trial[name]["engine"]] += trial[name]["prompt_tokens"]
    asked["receiver"] += sum(probe[name]["prompt_tokens"] for name in ("never_seen", "recompute"))
    for role in ROLES:
        pages = probe["engines"][role]["metrics"]
        pages["seeded"] = {**pages["before"], "at": 1795487061.0, "values": dict(pages["before"]["values"])}
        counted = {"before": 0.0, "seeded": asked[role] if role == "holder" else 0.0, "after": asked[role]}
        for when, tokens in counted.items():
            pages[when]["values"]["vllm:prompt_tokens_total"] = 2154.0 + tokens
    return document


def not_announced(document: dict) -> dict:
    for trial in document["probe"]["trials"]:
        trial["visible"] = {"how": "key_count", "reached": False, "waited_s": 5.0, "limit_s": 5.0}
    for one in document["controllers"]:
        for worker in one["workers"]:
            worker["key_count"] = 0
    return document


def unreachable_engine(document: dict, role: str, kind: str = "connect") -> dict:
    """The first contact with this engine found nobody, so no trial was made."""
    probe, engine = document["probe"], document["probe"]["engines"][role]
    error = {"kind": kind, "status": None, "text": f"nothing listens at {engine['url']}"}
    engine.update(reachable=None if kind == "ssh" else False, error=error, health=None, models=[], model=None)
    engine["metrics"] = {"before": None, "after": None}
    probe.update(trials=[], warmup=[], never_seen=None, recompute=None, prompt=None)
    probe["errors"] = [{"where": f"{role}.health", **error}]
    return document


def copied(document: dict) -> dict:
    return copy.deepcopy(document)
