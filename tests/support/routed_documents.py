# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evidence of a pair whose cluster has a router: what its engines counted around each prompt that went through it.

``real()`` is that of real engines (fixtures/routed_nixl.json: vLLM 0.32 on CPUs, NIXL 1.5.1) behind routers of the lab
and vllm-router 0.1.17, with three positions of log-probabilities left of each answer.
"""

from __future__ import annotations

import json
from pathlib import Path

from documents import PROMPT, ROLES, WORDS, logprobs
from kvproof.judge.counters import FINISHED, PROMPTS
from kvproof.judge.dialects.nixl_pd import COMPUTED, FROM_PEER
from kvproof.judge.routed import MADE

REAL = Path(__file__).resolve().parents[1] / "fixtures" / "routed_nixl.json"
URL = "http://10.0.0.5:8080"
HOLDER, RECEIVER = ROLES["holder"], ROLES["receiver"]


def counted(tokens: int, *, loaded: int = 0, made: int = 8) -> dict:
    """ROUTED_ENGINE of an engine that served a prompt of so many tokens, and computed what it did not load."""
    window = {FINISHED: 1, PROMPTS: tokens, COMPUTED: tokens - loaded, FROM_PEER: loaded, MADE: made}
    return {"window": {name: float(value) for name, value in window.items()}, "unfinished": 0.0}


def prompt(engines: dict[str, dict], rendered: int | None = PROMPT, error: dict | None = None) -> dict:
    """ROUTED."""
    request = {"role": "routed", "engine": "router", "sent_at": 1.0, "completion_tokens": 8, "error": error}
    return {"request": request, "rendered": rendered, "again": False, "engines": engines, "still": 2 - len(engines)}


DISAGGREGATED = {HOLDER: counted(PROMPT, made=1), RECEIVER: counted(PROMPT, loaded=PROMPT)}
ALONE = {RECEIVER: counted(PROMPT)}
TWICE = {HOLDER: counted(PROMPT, made=1), RECEIVER: counted(PROMPT)}


def through(document: dict, *served: dict[str, dict], **of_each) -> dict:
    """The document of a pair whose cluster's router got prompts that these engines served."""
    requests = [prompt(one, **of_each) for one in served]
    document["probe"]["router"] = {"url": URL, "withheld": None, "engines": 2, "requests": requests}
    return document


def unsent(document: dict, why: str) -> dict:
    document["probe"]["router"] = {"url": URL, "withheld": why, "engines": None, "requests": []}
    return document


def refused(document: dict, kind: str = "connect", status: int | None = None) -> dict:
    """Nothing came through."""
    return through(document, *[{}] * 3, error={"kind": kind, "status": status, "text": f"{URL} says no ({kind})"})


def answering(document: dict, *shifts: float) -> dict:
    """The router's answers have log-probabilities so many nats away from those of the decode engine, asked itself."""
    for routed, shift in zip(document["probe"]["router"]["requests"], shifts):
        routed["request"].update(text=WORDS, logprobs=logprobs(WORDS, shift))
        routed["recompute"] = {"role": "recompute", "text": WORDS, "logprobs": logprobs(WORDS), "error": None}
    return document


def real(router: str) -> dict:
    """router: one of the fixture's, of the lab's kinds (lab/cluster/router.py) or vllm-router's."""
    recorded = json.loads(REAL.read_text(encoding="utf-8"))
    document = recorded["evidence"]
    document["probe"]["router"] = recorded["routers"][router]
    return document
