# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fresh prompts through a cluster's own proxy or router, and which engines served them: the document ROUTER.

It comes after the experiments of all pairs, whose requests went past the router, and is no part of them.  The prompts
are plain ones, as a user's, and have nothing in common; where a plain router stands before engines that share KV, one
more has the first one's beginning.  Who served one, the engines' own counters around it tell: those of every engine of
the cluster, since a router may choose any.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..stack.architectures import IN_WORDS, LMCACHE_PD, NIXL_PD
from ..transport.http import Deadline, RequestFailed
from . import prompts
from .completions import REFUSED, CompletionClient
from .document import empty_router
from .engine import Engine, EngineSettings
from .metrics import rises
from .nixl_pd import NixlPd
from .window import FINISHED, SETTLES_S

PROMPTS = 3
MOST_STORED = PROMPTS + 1  # with the first one's beginning again
NEW_TOKENS = 8
LIMIT_S = 60.0  # of all of them
REQUEST_S = 30.0
POLL_S = 0.2
SIDE_BY_SIDE = 16  # pages that are read at the same time
GONE = ("timeout", "deadline", "connect", "dns", "url", "tls", "ssh")  # after these nothing more is sent
UNFINISHED = ("vllm:num_requests_running", "vllm:num_requests_waiting")
PROMPT_TOKENS = "vllm:prompt_tokens_total"
#: Beginnings of the names of counters that tell what an engine did with a prompt.
TELLING = (FINISHED, PROMPT_TOKENS, "vllm:prompt_tokens_by_source_total", "vllm:generation_tokens_total")

KILLS = (
    f"a router that does not disaggregate sends a plain completion, and a sender of {IN_WORDS[LMCACHE_PD]} ends when "
    "it gets one"
)


def withheld(probes: Iterable[dict[str, Any] | None], beyond: Iterable[str]) -> str | None:
    """Why nothing may be sent through a cluster's router; None where something may.

    probes: of all its pairs, None of one that could not be probed.  beyond: its engines that are in none of them.
    """
    probes, beyond = list(probes), list(beyond)
    if any(probe and probe["architecture"] == LMCACHE_PD for probe in probes):
        return KILLS
    if beyond:
        return (
            f"{', '.join(beyond[:8])}{', …' * (len(beyond) > 8)} may be chosen by it and took part in no pair of this "
            "run, so it is not known what would end it (kv_reuse_pairs: cover takes every engine)"
        )
    for probe in probes:
        if probe is None:
            return "a pair of this cluster could not be probed"
        names = " → ".join(probe["engines"][role]["name"] for role in ("holder", "receiver"))
        if probe["withheld"]:
            return f"no prompt may be sent to {names}: {probe['withheld']}"
        reuses = [trial["reuse"] for trial in probe["trials"] if trial["reuse"]]
        if not any(reuse["error"] is None for reuse in reuses):
            return f"the experiment of {names} got no answer, and no more is sent to engines that do not answer"
    return None


class RouterProbe:
    """``run()`` returns ROUTER.

    engines: settings of every engine of the cluster by name.  probes: of all its pairs, whose prompts it takes after.
    """

    def __init__(
        self, router: EngineSettings, engines: dict[str, EngineSettings], probes: list[dict[str, Any]], run_id: str
    ):
        self.deadline, self.run_id = Deadline(LIMIT_S), run_id
        self.document = empty_router(router.url)
        self.router = self._engine(router)
        self.engines = {name: self._engine(settings) for name, settings in engines.items()}
        self.document["engines"] = len(self.engines)
        self.model = probes[0]["engines"]["receiver"]["model"]
        decode = self.engines[probes[0]["engines"]["receiver"]["name"]]
        self.disaggregates, self.wait_s = probes[0]["architecture"] == NIXL_PD, probes[0]["settings"]["wait_s"]
        self.client = CompletionClient(
            self.router.http, "router", self.model, REQUEST_S, takes_logprobs=self.disaggregates
        )
        self.direct = CompletionClient(decode.http, "receiver", self.model, REQUEST_S)
        shortest = min((probe["prompt"] for probe in probes), key=lambda prompt: prompt["prefix_tokens"])
        self.length, self.material = shortest["prefix_tokens"], prompts.Material(shortest["source"])
        self._learn_material()
        self.sent: list[prompts.PromptPair] = []

    def run(self) -> dict[str, Any]:
        requests = self.document["requests"]
        try:
            for index in range(PROMPTS):
                self._fresh(f"{index}-routed")
                if (requests[-1]["request"]["error"] or {}).get("kind") in GONE:
                    return self.document
            if self.disaggregates:
                self._recompute()
            elif all(routed["request"]["error"] is None for routed in requests):
                self._wait_for(requests[0]["request"])
                requests.append({**self._ask(self.sent[0].reuse, "again-routed"), "again": True})
            return self.document
        finally:
            for engine in (self.router, *self.engines.values()):
                engine.close()

    def _fresh(self, label: str) -> None:
        """Sends a fresh prompt; from the first on that is refused as token ids, all are sent as text."""
        pair = prompts.build(self.material, self.length)
        routed = self._ask(pair.seed, label)
        if self.material.source != "text" and (routed["request"]["error"] or {}).get("status") in REFUSED:
            self._take_text()
            pair = prompts.build(self.material, self.length)
            routed = self._ask(pair.seed, f"{label}-text")
        self.sent.append(pair)
        self.document["requests"].append(routed)

    def _recompute(self) -> None:
        """Asks a decode engine itself for each prompt that was answered, as the experiment's knock-outs are."""
        for index, (pair, routed) in enumerate(zip(self.sent, self.document["requests"])):
            if routed["request"]["error"] is None:
                label, fields = f"kvp-{self.run_id}-{index}-routed-recompute", NixlPd.knockout_fields()
                routed["recompute"] = self.direct.ask("recompute", pair.seed, label, NEW_TOKENS, fields)

    def _wait_for(self, request: dict[str, Any]) -> None:
        """Gives a store that nobody watches its time since a request."""
        ended = request["sent_at"] + request["total_s"]
        time.sleep(max(0.0, min(ended + self.wait_s - time.time(), self.wait_s, self.deadline.left())))

    def _engine(self, settings: EngineSettings) -> Engine:
        return Engine(settings, self.deadline, lambda _where, _error: None)

    def _learn_material(self) -> None:
        """What prompts are made of, as the experiments had it; text where it cannot be had again."""
        engine = next(iter(self.engines.values()))
        try:
            if self.material.source == "tokenize":
                self.material = prompts.tokenize_with_server(engine.http, self.model)
            elif self.material.source == "transformers":
                paths = [its.settings.tokenizer for its in self.engines.values() if its.settings.tokenizer]
                self.material = prompts.tokenize_with_transformers(paths[0])
        except RequestFailed:
            self._take_text()

    def _take_text(self) -> None:
        """From now on text, so many words that they have no more tokens than the prompts that fitted."""
        longest = max(map(len, self.material.words), default=0) if self.material.spelled else 0
        self.length = max(self.length // (longest or prompts.MOST_TOKENS), prompts.NONCE_WORDS)
        self.material = prompts.Material("text")

    def _ask(self, prompt: list[int] | str, label: str) -> dict[str, Any]:
        """ROUTED of a prompt."""
        before = self._pages()
        request = self.client.ask("routed", prompt, f"kvp-{self.run_id}-{label}", NEW_TOKENS)
        return {
            "request": request,
            "rendered": len(prompt) if isinstance(prompt, list) else self._tokens(prompt),
            "again": False,
            "recompute": None,
            **self._served(before, 0 if request["error"] else 1 + self.disaggregates),
        }

    def _tokens(self, text: str) -> int | None:
        """How many tokens an engine makes of a text, None where none says."""
        engine = next(iter(self.engines.values()))
        try:
            answer = engine.http.post_json("/tokenize", {"model": self.model, "prompt": text})
        except RequestFailed:
            return None
        tokens = answer.get("tokens") if isinstance(answer, dict) else None
        return len(tokens) if isinstance(tokens, list) else None

    def _served(self, before: dict[str, dict[str, Any]], wanted: int) -> dict[str, Any]:
        """``engines`` and ``still`` of ROUTED, once so many engines in all count a request as finished, or after
        SETTLES_S."""
        end = time.monotonic() + SETTLES_S
        while True:
            after = self._pages()
            served = {name: _between(before[name], page) for name, page in after.items()}
            moved = {name: its for name, its in served.items() if not _stood_still(its)}
            finished = sum((its["window"] or {}).get(FINISHED, 0) for its in moved.values())
            quiet = not any(its["unfinished"] for its in moved.values())
            if (finished >= wanted and quiet) or time.monotonic() >= end or self.deadline.passed():
                return {"engines": moved, "still": len(served) - len(moved)}
            time.sleep(POLL_S)

    def _pages(self) -> dict[str, dict[str, Any]]:
        """METRICS of every engine of the cluster by name."""
        with ThreadPoolExecutor(min(SIDE_BY_SIDE, len(self.engines))) as pool:
            return dict(zip(self.engines, pool.map(lambda engine: engine.scrape(), self.engines.values())))


def _between(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """ROUTED_ENGINE of two pages."""
    gained = rises(before, after)
    gauges = [[page["values"].get(name) for name in UNFINISHED] for page in (before, after)]
    known = all(value is not None for values in gauges for value in values)
    return {
        "window": None if gained is None else {name: n for name, n in gained.items() if name.startswith(TELLING)},
        "unfinished": max(sum(values) for values in gauges) if known else None,
    }


def _stood_still(its: dict[str, Any]) -> bool:
    """Whether an engine was idle and had no part in a prompt, as its own counters show."""
    window = its["window"] or {}
    return its["unfinished"] == 0 and FINISHED in window and PROMPT_TOKENS in window and not any(window.values())
