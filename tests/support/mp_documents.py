# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evidence of a multiprocess pair: a real healthy run's (fixtures/mp_healthy.json, vLLM 0.32 on CPUs, LMCache 0.5.6),
and what becomes of it when something breaks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from documents import put
from kvproof.stack import mp

HEALTHY = Path(__file__).resolve().parents[1] / "fixtures" / "mp_healthy.json"
HOLDER, RECEIVER = "prefill-1", "decode-1"
UNREGISTERED = {"p2p_state": "unregistered", "p2p_peers": [], "l2_adapters": []}


def mp_pair() -> dict:
    return json.loads(HEALTHY.read_text())


def missed(document: dict | None = None) -> dict:
    """Every prompt was recomputed: no hit, no line, no load."""
    document = document or mp_pair()
    for trial in document["probe"]["trials"]:
        trial["reuse"]["cached_tokens"] = 0
        window = trial["window"]["receiver_server"]
        window.update({name: 0.0 for name in window if name in (mp.HIT_L1, mp.HIT_L2) or name.startswith(mp.LOADED)})
    _forget(document, "prefetched")
    return document


def local(document: dict | None = None) -> dict:
    """The receiver's own server had every chunk (L1)."""
    document = document or mp_pair()
    for trial in document["probe"]["trials"]:
        window = trial["window"]["receiver_server"]
        window[mp.HIT_L1], window[mp.HIT_L2], window[mp.LOADED_BY_P2P] = window[mp.HIT_L2], 0.0, 0.0
    for event in document["nodes"]["receiver"]["cache_server"]["log"]["events"]:
        if event["kind"] == "prefetched":
            event.update(l1=event["l2"], l2=0)
    return document


def unread_log(document: dict) -> dict:
    """No line of the receiver's server was read."""
    document["nodes"]["receiver"]["cache_server"]["log"] = {"state": "unreadable", "detail": "permission denied"}
    return document


def facts(document: dict, role: str, **changed: Any) -> dict:
    """What a server says of itself, to the probe and on its node."""
    for server in (document["probe"]["engines"][role]["cache_server"], document["nodes"][role]["cache_server"]):
        server["facts"].update(changed)
    return document


def nothing_sent(document: dict, why: str) -> dict:
    document["probe"].update(withheld=why, trials=[], warmup=[], never_seen=None, recompute=None, prompt=None)
    return document


def server_gone(role: str = "receiver") -> dict:
    """Nobody listens where the engine looks for its server."""
    document = nothing_sent(mp_pair(), "its cache server is not healthy")
    document["probe"]["engines"][role]["cache_server"] = None
    gone = {"running": False, "pid": None, "user": None, "found_by": None, "unseen": []}
    refused = {"state": "unset", "status": None, "text": "no URL is known"}
    document["nodes"][role]["cache_server"].update(
        process=gone, facts=None, healthy=None, http=refused, options=None, url=None, log=None
    )
    return document


def coordinator_gone() -> dict:
    document = missed()
    for role in ("holder", "receiver"):
        facts(document, role, **UNREGISTERED)
    refused = {"state": "refused", "status": None, "text": "connection refused"}
    for coordinator in (document["probe"]["coordinator"], *document["coordinators"]):
        coordinator.update(http=refused, healthy=None, instances=None, keys={})
    for trial in document["probe"]["trials"]:
        trial["directory"] = None
    return document


def started_with(document: dict, role: str, option: str, value: str) -> dict:
    return put(document, f"nodes.{role}.cache_server.options.{option}", value)


def advertised(document: dict, host: str, ours: bool | None) -> dict:
    """The holder's server advertises this host."""
    value = f"{host}:8200"
    facts(document, "holder", p2p_advertise_url=value)
    return put(document, "nodes.holder.cache_server.advertised", {"value": value, "host": host, "ours": ours})


def unresolved(document: dict) -> dict:
    """The holder's server advertises a name that its peer does not know."""
    document = advertised(document, "kv-node.invalid", None)
    dial = {"to": "kv-node.invalid:8200", "why": "peer-init", "state": "error", "ms": 0.5}
    return put(document, "nodes.receiver.dials", [dial])


def on_two_ranks(document: dict, *, written: int, ranks: dict | None = None) -> dict:
    """Engines of two ranks each; the holder's server wrote so many chunks of a seed, and the directory tells whose."""
    for role in ("holder", "receiver"):
        facts(document, role, world_size=2, engines=["1", "2"])
        head = document["nodes"][role]["log"]["head"]
        head[:] = [event for event in head if event["kind"] != "mp_adapter"]
        head += [{"kind": "mp_adapter", "instance": number} for number in ("1", "2")]
    for trial in document["probe"]["trials"]:
        trial["window"]["holder_server"][mp.WRITTEN] = float(written)
        trial["directory"] = ranks and {"chunks": 4, "holders": {}, "ranks": {"prefill_mp": ranks}}
    return document


def _forget(document: dict, *kinds: str) -> None:
    log = document["nodes"]["receiver"]["cache_server"]["log"]
    log["events"] = [event for event in log["events"] if event["kind"] not in kinds]
