# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""One small story on each cluster, told by its logs: which lines a request leaves, in which order, from where."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from kvproof.probe import prompts
from kvproof.stack import lines
from kvproof.transport.http import Deadline, HttpClient

PREFIX_TOKENS = 530  # two chunks of 256 and a little
_ORIGIN = re.compile(r"\((\w+\.py:\d+:[\w.]+)\)")
_LEVEL = re.compile(r"LMCache (\w+):")


@dataclass
class Story:
    """Events of each request by role, as [log, kind, fields], and the origins of every kind of line."""

    events: dict[str, list[list[Any]]] = field(default_factory=dict)
    startup: list[list[Any]] = field(default_factory=list)
    origins: dict[str, list[str]] = field(default_factory=dict)


def tell(holder: str, receiver: str, model: str, logs: dict[str, Path]) -> Story:
    """Seed on the holder; reuse, knock-out, recompute and a cold prompt on the receiver.  Returns what was logged."""
    run = f"c{int(time.time() * 1000) % 10**9}"
    material = prompts.tokenize_with_server(HttpClient(holder, Deadline(30.0)), model)
    pair = prompts.build(material, PREFIX_TOKENS)
    cold = prompts.build(material, PREFIX_TOKENS)
    tagged = {"kv_transfer_params": {"lmcache.tag.contract": run, "lmcache.skip_save": "true"}}
    ask = [
        ("seed", holder, pair.seed, {}),
        ("reuse", receiver, pair.reuse, {}),
        ("knockout", receiver, pair.reuse, tagged),
        ("recompute", receiver, pair.reuse, {"prompt_logprobs": 1}),
        ("repeat", receiver, pair.reuse, {}),
        ("cold", receiver, cold.seed, {}),
        ("short", receiver, cold.seed[:40], {}),
    ]
    ids = {}
    for role, base, prompt, extra in ask:
        body = {"model": model, "prompt": prompt, "max_tokens": 4, "temperature": 0, "logprobs": 3, **extra}
        with requests.Session() as session:
            session.trust_env = False
            reply = session.post(base + "/v1/completions", json=body, timeout=60,
                                 headers={"X-Request-Id": f"{run}-{role}"})  # fmt: skip
        reply.raise_for_status()
        ids[role] = reply.json()["id"]
        time.sleep(0.5)  # what is announced and logged behind the answer
    return _read(ids, logs)


def _read(ids: dict[str, str], logs: dict[str, Path]) -> Story:
    story = Story(events={role: [] for role in ids})
    for name, path in logs.items():
        scanner, pending = lines.Scanner(), []
        for raw in path.read_bytes().splitlines(keepends=True):
            event = scanner.feed(raw, 0)
            if event is None:
                continue
            text = lines.clean(raw)
            told = [name, event["kind"], sorted(set(event) - {"at", "offset", "line"})]
            _note_origin(story, event["kind"], text)
            if event["kind"] in lines.STARTUP:
                story.startup += [told[1:]] if told[1:] not in story.startup else []
            elif event["kind"] == "layout":  # carries no id: belongs to the next line of the receiver that does
                pending.append([name, f"layout of {event['chunks']} chunks", told[2]])
            elif event.get("id"):
                role = next((one for one, sent in ids.items() if lines.same_request(sent, event["id"])), None)
                if role:
                    story.events[role] += [*pending, told] if event["kind"] != "peer_asked" else [told]
                pending = [] if event["kind"] != "peer_asked" else pending
    return story


def _note_origin(story: Story, kind: str, text: str) -> None:
    origin, level = _ORIGIN.findall(text), _LEVEL.search(text)
    if origin and level:
        places, place = story.origins.setdefault(kind, []), f"{level.group(1)} {origin[-1]}"
        places += [place] if place not in places else []


def compare(real: dict[str, Any], rehearsal: dict[str, Any]) -> list[str]:
    """Two stories as plain values; one sentence per difference.

    A kind of line that only one log happens to hold has no origin to compare.
    """
    found: list[str] = []
    for role, events in real["events"].items():
        if _ordered(rehearsal["events"][role]) != _ordered(events):
            found.append(f"log of {role}: {_kinds(rehearsal['events'][role])}, really {_kinds(events)}")
    for kind, fields in real["startup"]:
        if [kind, fields] not in rehearsal["startup"]:
            found.append(f"log at start: {kind} with {fields} is missing")
    for kind, fields in rehearsal["startup"]:
        if [kind, fields] not in real["startup"]:
            found.append(f"log at start: {kind} with {fields} is not really there")
    origins = rehearsal["origins"]
    for kind in sorted(real["origins"].keys() & origins.keys()):
        if not set(origins[kind]) <= set(real["origins"][kind]):
            found.append(f"log: {kind} comes from {origins[kind]}, really from {real['origins'][kind]}")
    return found


def _ordered(events: list[Any]) -> tuple[list[Any], list[Any]]:
    """Lines that follow each other, and those whose place is chance: a prompt is stored beside its own lookup."""
    stored = [event for event in events if event[1] == "stored"]
    return [event for event in events if event not in stored], stored


def _kinds(events: list[Any]) -> str:
    return " > ".join(f"{log}:{kind}" for log, kind, _fields in events) or "nothing"
