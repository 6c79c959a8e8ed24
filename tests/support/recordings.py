"""Turns a recording of a real cluster into the evidence the core judges (docs/evidence.md).

A recording holds two probes: A on the holder, B on the receiver with another ending, R the prompt of B recomputed
by ``prompt_logprobs``, X a control that nobody had seen.  R stands here where a live probe has its knock-out.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "module_utils"))

from kvproof.node import log as logs
from kvproof.probe import metrics
from kvproof.stack import lines, mp, settings

RECORDINGS = Path(os.environ.get("KVPROOF_RECORDINGS", ROOT.parent / "shared" / "recordings"))
SUFFIX = 10  # tokens of the endings, which differ: an upper bound, far below a chunk
ARCHITECTURES = {"mp": "mp", "lmcache_pd": "lmcache_pd", "nixl_pd": "nixl_pd"}
SAME_PROMPT = ("lmcache_pd", "nixl_pd")  # the decode engine gets the very prompt of the prefill engine
NAMES = {"holder": "prefill", "receiver": "decode"}


def evidence(folder: Path) -> dict:
    """``kvproof.evidence/1`` of one recording."""
    meta = _json(folder / "meta.json")
    probes = _json(folder / "probes.json") or []
    controller = _controller(folder)
    return {
        "schema": "kvproof.evidence/1",
        "tool": "test",
        "cluster": folder.name,
        "mode": "recording",
        "architecture": ARCHITECTURES.get(meta.get("architecture"), "inprocess_p2p"),
        "pair": {"holder": "prefill", "receiver": "decode"},
        "probe": _probe(folder, meta, probes),
        "nodes": {role: _node(folder, role, probes, controller) for role in NAMES},
        "controllers": [controller] if controller else [],
    }


def _json(path: Path):
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _probe(folder: Path, meta: dict, probes: list) -> dict:
    suffix = 0 if meta.get("architecture") in SAME_PROMPT else SUFFIX
    return {
        "schema": "kvproof.probe/1",
        "run_id": "probe-",
        "skipped": None,
        "settings": {"trials": len(probes)},
        "engines": {role: _engine(folder, name, meta["engines_up"][name], probes) for role, name in NAMES.items()},
        "controller": None,
        "prompt": {"chunk_size": 256, "chunk_size_source": "default", "refused": None, "estimated": False},
        "warmup": [],
        "trials": [_trial(index, probe, suffix) for index, probe in enumerate(probes)],
        "never_seen": _request(probes[0].get("X"), "never_seen", "receiver") if probes else None,
        "recompute": None,
        "reference": None,
        "errors": [],
    }


def _engine(folder: Path, name: str, up: bool, probes: list) -> dict:
    error = None if up else {"kind": "connect", "status": None, "text": "connection refused"}
    before, after = (_page(folder / f"metrics.{name}.{when}.txt") for when in ("before", "after12s"))
    if after is None:  # the recordings of the other architectures: an engine that had just started, and one page
        before, after = {"state": "ok", "lmcache": False, "values": {}}, _page(folder / f"metrics.{name}.after.txt")
    return {
        "name": name,
        "url": "recorded",
        "reachable": up,
        "error": error,
        "health": {"status": 200} if up else None,
        "models": ["tiny"] if up else None,
        "model": "tiny" if up else None,
        "metrics": {"before": before, "after": after} if up else {},
        "internal": None,
    }


def _page(path: Path):
    try:
        return metrics.read_page(path.read_bytes())
    except (OSError, ValueError):
        return None


def _trial(index: int, probe: dict, suffix: int) -> dict:
    lengths = [
        probe[role].get("prompt_tokens") or (probe[role].get("usage") or {}).get("prompt_tokens")
        for role in ("A", "B")
        if isinstance(probe.get(role), dict)
    ]
    return {
        "index": index,
        "attempt": 0,
        "order": "reuse-first",
        "prefix_tokens": min(lengths) - suffix if all(lengths) and lengths else None,
        "expected_hit": None,
        "seed": _request(probe.get("A"), "seed", "holder"),
        "visible": {"how": None, "reached": False, "waited_s": None, "limit_s": 5.0},
        "reuse": _request(probe.get("B"), "reuse", "receiver"),
        "knockout": _request(probe.get("R"), "knockout", "receiver"),
        "repeat": None,
        "knockout_how": "none",
        "window": {role: _window(probe, name) for role, name in NAMES.items()},
    }


def _window(probe: dict, name: str) -> dict:
    """Rises of counters over this probe alone, in the evidence's notation: ``name{source=x}``."""
    rises = (probe.get("metrics_delta") or {}).get(name) or {}
    return {re.sub(r"\[(.*)\]$", r"{source=\1}", key): value for key, value in rises.items()}


def _request(one: dict | None, role: str, engine: str) -> dict | None:
    if not one:
        return None
    usage = one.get("usage") or {}
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    return {
        "role": role,
        "engine": engine,
        "request_id": one.get("rid"),
        "response_id": one.get("id"),
        "ttft_s": one.get("ttft_s"),
        "total_s": one.get("total_s"),
        "prompt_tokens": usage.get("prompt_tokens"),
        "cached_tokens": cached,
        "completion_tokens": usage.get("completion_tokens"),
        "finish_reason": "length",
        "text": one.get("text"),
        "logprobs": _logprobs(one),
        "error": {"kind": "connect", "status": None, "text": one["err"]} if one.get("err") else None,
    }


def _logprobs(one: dict) -> list | None:
    if not one.get("tokens"):
        return None
    found = [{"token": t, "logprob": p, "top": {}} for t, p in zip(one["tokens"], one["token_logprobs"])]
    found[0]["top"] = one.get("top_first") or {}
    return found


def _node(folder: Path, role: str, probes: list, controller: dict | None) -> dict:
    name = NAMES[role]
    worker, scheduler = (_json(folder / f"internal_api.{name}.{part}.json") or {} for part in ("worker0", "scheduler"))
    conf = next((api["conf"] for api in (worker, scheduler) if isinstance(api.get("conf"), dict)), None)
    file_values = _yaml(folder / f"{name}.yaml")
    ids = [p[r]["id"] for p in probes for r in ("A", "B", "R", "X") if isinstance(p.get(r), dict) and p[r].get("id")]
    log = logs.read({"file": str(folder / f"{name}.log")}, logs.Want(ids=ids))
    heads = [e["values"] for e in log["head"] if e["kind"] == "config"]
    effective = (
        {"source": "internal_api", "values": settings.lmcache_config(conf)}
        if conf
        else {"source": "log" if heads else None, "values": heads[-1] if heads else {}}
    )
    environ = _environ(folder, name)
    return {
        "schema": "kvproof.node/1",
        "ssh": "ok",
        "hostname": name,
        "engine": {
            "port": 8000,
            "running": True,
            "unseen": [],
            "options": {},
            "env": settings.environment(environ) if environ is not None else None,
        },
        "config_file": {"state": "ok" if file_values else "absent", "values": file_values or {}},
        "effective": effective,
        "meta": settings.lmcache_meta(worker["meta"]) if isinstance(worker.get("meta"), dict) else None,
        "backends": list(worker["backends"]) if isinstance(worker.get("backends"), dict) else None,
        "internal_api": {"state": "ok", "status": 503 if "503" in str(worker.get("backends")) else 200},
        "versions": {"lmcache": worker.get("lmc_version"), "vllm": None},
        "p2p_host": {"value": (file_values or {}).get("p2p_host"), "ours": None},
        "dials": _dials(folder, role, file_values or {}, controller),
        "log": log,
        "cache_server": _cache_server(folder, name),
    }


def _cache_server(folder: Path, name: str) -> dict | None:
    """What the multiprocess mode's server says of itself (/config and /status), and its log."""
    facts = mp.server_facts(lambda path: _json(folder / f"server.{name}{path.replace('/', '.')}.json"))
    if facts is None:
        return None
    log = {"state": "ok", "events": _events(folder / f"server_{name}.log")}
    return {"ssh": "ok", "healthy": True, "facts": facts, "wanted": {"host": "recorded"}, "log": log}


def _events(path: Path) -> list[dict]:
    scanner = lines.Scanner()
    return [event for raw in path.read_bytes().splitlines() if (event := scanner.feed(raw, 0))]


def _yaml(path: Path) -> dict | None:
    return settings.lmcache_config(yaml.safe_load(path.read_text())) if path.exists() else None


def _environ(folder: Path, name: str) -> dict | None:
    processes = _processes(folder).get(name) or []
    return next((p["env"] for p in processes if isinstance(p, dict) and p.get("leader") and p.get("env")), None)


def _processes(folder: Path) -> dict:
    found = _json(folder / "processes.json")
    return found if isinstance(found, dict) else {}


def _dials(folder: Path, role: str, values: dict, controller: dict | None) -> list:
    """What a dial would have found, by the recorded list of listening sockets."""
    lines = (folder / "listening.txt").read_text().splitlines()
    if not (controller or {}).get("process", {}).get("running"):  # the sockets were listed before it was killed
        lines = [line for line in lines if "lmcache_control" not in line]
    listening = set(re.findall(r"LISTEN +\d+ +\d+ +([\d.]+:\d+)", "\n".join(lines)))
    wanted = [(values.get(f"controller_{part}_url"), f"controller-{part}") for part in ("pull", "reply")]
    for worker in (controller or {}).get("workers") or []:
        if worker.get("peer_init_url") and NAMES["holder"] in worker["instance_id"] and role == "receiver":
            wanted.append((worker["peer_init_url"], "peer-init"))
    return [
        {"to": to, "why": why, "state": "open" if to in listening else "refused", "ms": 0.1} for to, why in wanted if to
    ]


def _controller(folder: Path) -> dict | None:
    path = folder / "controller.workers.json"
    if not path.exists():
        return None
    workers = (_json(path) or {}).get("workers")
    running = bool(_processes(folder).get("controller"))
    return {
        "schema": "kvproof.controller/1",
        "name": "controller",
        "ssh": "ok",
        "url": "recorded",
        "http": {"state": "ok" if workers is not None else "refused", "status": None, "text": None},
        "workers": workers,
        "process": {"running": running, "pid": None, "unseen": []},
        "listening": [],
    }


# ---- documents for tests/fixtures/evidence

KEPT_EVENTS = 60
KEPT_TOP = 5


def fixture(folder: Path) -> dict:
    """A recording as a small document: its evidence with fewer events, counters and log-probabilities."""
    meta, document = _json(folder / "meta.json"), evidence(folder)
    for engine in document["probe"]["engines"].values():
        for page in engine["metrics"].values():
            page["values"] = {k: v for k, v in page["values"].items() if "request_success" in k or "external" in k}
    for request in _requests(document["probe"]):
        request["logprobs"] = [_fewer(position) for position in request["logprobs"] or []] or None
    for role, node in document["nodes"].items():
        node["config_file"]["values"] = dict(node["effective"]["values"])
        node["log"]["source"] = {"file": f"{NAMES[role]}.log"}
        node["log"]["mtime"] = None  # when this copy of the recording was unpacked
        node["log"]["events"] = node["log"]["events"][-KEPT_EVENTS:]
    return {"meta": {name: meta[name] for name in ("expected_verdict", "root_cause")}, "evidence": document}


def _requests(probe: dict) -> list[dict]:
    sent = [trial[role] for trial in probe["trials"] for role in ("seed", "reuse", "knockout")]
    return [request for request in [*sent, probe["never_seen"]] if request]


def _fewer(position: dict) -> dict:
    likely = sorted(position["top"].items(), key=lambda item: -item[1])[:KEPT_TOP]
    return {**position, "top": dict(likely)}


def main() -> None:
    """Writes the three fixtures again from the recordings (KVPROOF_RECORDINGS, else beside the checkout)."""
    target = ROOT / "tests" / "fixtures" / "evidence"
    for name in ("healthy", "corrupt_zero_k", "hashseed_differs"):
        found = fixture(RECORDINGS / name)
        (target / f"{name}.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
