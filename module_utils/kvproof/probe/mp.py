# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The experiment for LMCache's multiprocess mode: fresh prompts, their reuse, and the controls that make it proof.

Per trial: seed on the holder, wait until its server has stored it, reuse on the receiver, and a knock-out (the same
prompt under a salt, which is part of every key).  Around each of them the servers' counters, of which one request in an
idle window can be told.  A server stores whatever its engine computes, knock-outs too, so all of it counts against the
bound on probe KV.

Before every request the engine's server is asked whether it is healthy: without it an engine hangs for minutes.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from ..stack import mp
from ..transport.http import RequestFailed
from . import prompts, sizing
from .cache_server import WHY, CacheServer, Coordinator, ServerWatch
from .completions import REFUSED
from .document import empty_trial
from .engine import Engine, EngineSettings, side_by_side
from .experiment import FEW_TOKENS, WARMUP_TOKENS, Experiment
from .options import Settings
from .window import Window

#: Has the answer say how many tokens came from vLLM's own cache and how many from LMCache; other versions ignore it.
STATS: dict[str, Any] = {"kv_transfer_params": {"cached_token_stats": True}}
MORE_PROMPTS = 1  # a receiver stores the second recompute, too
POOL = "--l1-size-gb"


class Multiprocess(Experiment):
    """The experiment of two engines, each with a cache server beside it, that find each other by a coordinator."""

    def __init__(
        self, settings: Settings, holder: EngineSettings, receiver: EngineSettings, controller_url: str | None = None
    ):
        super().__init__(settings, holder, receiver, None)  # a controller is none of this mode
        self.coordinator = (
            Coordinator(settings.coordinator_url, self.deadline, settings.coordinator_ssh)
            if settings.coordinator_url
            else None
        )
        self.servers: dict[str, CacheServer] = {}

    @staticmethod
    def knockout_fields() -> dict[str, Any]:
        """Makes a prompt miss: the salt is part of vLLM's keys and of LMCache's.  It is stored all the same."""
        return {**STATS, "cache_salt": secrets.token_hex(16)}

    def contact(self) -> None:
        """Servers and coordinator, as far as anybody says where they are."""
        if self.coordinator:
            self.coordinator.contact()
            self.probe["coordinator"] = self.coordinator.document
        for engine in (self.holder, self.receiver):
            url = engine.settings.mp_url or self._listed(engine)
            if url:
                self.servers[engine.settings.role] = server = CacheServer(engine, url)
                engine.document["cache_server"] = server.document
                self.clients[engine.settings.role].guard = server.guard
        side_by_side(*[server.contact for server in self.servers.values()] or [lambda: None])

    def _listed(self, engine: Engine) -> str | None:
        """A server that the coordinator lists at the engine's own address."""
        return self.coordinator.server_url(urlsplit(engine.settings.url).hostname or "") if self.coordinator else None

    def unready(self, engine: Engine) -> str | None:
        """Why an engine must not be sent anything: its server is not known to be there; None where it is."""
        server, name = self.servers.get(engine.settings.role), engine.settings.name
        if server is None:
            return (
                f"where {name}'s cache server answers is not known: set kv_reuse_mp_url, or let its node be read; {WHY}"
            )
        return server.unready()

    def sizes(self) -> tuple[sizing.Bounds, str]:
        facts = [server.facts for server in self.servers.values()]
        chunks = [its["chunk_size"] for its in facts if its.get("chunk_size")]
        pools = [its["l1_total_bytes"] for its in facts if its.get("l1_total_bytes")]
        bounds, source = super().sizes()
        if chunks:  # the larger, so that the prompt is long enough on either
            bounds, source = replace(bounds, chunk_size=max(chunks)), "cache_server"
        return replace(
            bounds, pool_bytes=min(pools, default=None), pool_option=POOL, prompts=bounds.prompts + MORE_PROMPTS
        ), source

    def store_watch(self) -> ServerWatch:
        return ServerWatch(self.servers["holder"], self._ranks())

    def _ranks(self) -> int:
        return self.servers["holder"].facts.get("world_size") or 1

    def kv_left(self, more: int) -> float | None:
        return super().kv_left(more + MORE_PROMPTS)

    def closing(self) -> None:
        side_by_side(*[server.look_again for server in self.servers.values()] or [lambda: None])

    # ---- warm-up

    def warm_up(self) -> int | None:
        """Takes the peers' first contact out of the trials, and learns what a prompt weighs.

        Returns the status with which an engine refused the prompt, None when both took it.
        Raises RequestFailed where an engine gave no answer at all, or no trial's prompt fits.
        """
        pair = self.build(self.bounds.chunk_size + prompts.SLACK_TOKENS)
        mark = self.watch.before()
        label = "warmup" if self.material.source != "text" else "warmup-text"
        for engine, prompt in (("holder", pair.seed), ("receiver", pair.reuse)):
            request = self.ask(engine, "warmup", prompt, f"{label}-{engine}", max_tokens=WARMUP_TOKENS, extra=STATS)
            self.probe["warmup"].append(request)
            error = request["error"]
            if error and error["status"] in REFUSED:
                return error["status"]
            if error:
                raise RequestFailed(error["kind"], f"the warm-up of the {engine} failed: {error['text']}")
            if engine == "holder":
                self.wait_for(mark, request, pair)
        # without --enable-prompt-tokens-details an answer in one piece tells, at the cost of its time to first token
        if all(request["cached_tokens"] is None for request in self.probe["warmup"]):
            for client in self.clients.values():
                client.streams = False
        self._weigh(pair)
        return None

    def _weigh(self, pair: prompts.PromptPair) -> None:
        """Sizes the trials' prompts by what the chunks of this one take."""
        directory = self._where(pair.seed)
        if not directory or not directory["chunk_bytes"]:
            return
        per_token = directory["chunk_bytes"] * self._ranks() / self.bounds.chunk_size
        self.bounds = replace(self.bounds, kv_bytes_per_token=per_token)
        if not self._size_up():
            raise RequestFailed("http", self.probe["prompt"]["refused"]["text"])

    def _where(self, prompt: Any) -> dict[str, Any] | None:
        facts = self.servers["holder"].facts
        model = facts.get("model_name") or self.holder.document["model_root"]
        return self.coordinator.where(prompt, model, facts.get("world_size")) if self.coordinator else None

    # ---- trials

    def trial(self, index: int) -> None:
        pair, mark, tokens = self.build(), self.watch.before(), self.settings.max_tokens if index == 0 else FEW_TOKENS
        seed = self.ask("holder", "seed", pair.seed, f"{index}-seed", max_tokens=tokens, extra=STATS)
        order = "knockout-first" if index % 2 else "reuse-first"
        trial = empty_trial(index, 0, order, seed=seed, pair=pair, chunk_size=self.bounds.chunk_size)
        self.probe["trials"].append(trial)
        if seed["error"]:
            return
        trial["visible"] = self.wait_for(mark, seed, pair)
        trial["window"] = {"holder_server": self.watch.window}
        trial["directory"] = self._where(pair.seed)
        self._last = pair, tokens
        steps = [self._knock, self._reuse] if index % 2 else [self._reuse, self._knock]
        for step in steps:
            step(trial, pair, tokens)

    def _reuse(self, trial: dict[str, Any], pair: prompts.PromptPair, tokens: int) -> None:
        mine, peer = self.servers["receiver"], self.servers["holder"]
        before, window = (mine.counters(), peer.counters()), Window(self.receiver)
        name = f"{trial['index']}-reuse"
        trial["reuse"] = self.ask("receiver", "reuse", pair.reuse, name, max_tokens=tokens, extra=STATS)
        gained = mine.settled(before[0], mp.LOOKUPS)
        served = peer.settled(before[1], mp.READ) if (gained or {}).get(mp.HIT_L2) else None
        trial["window"].update(receiver=window.close(), receiver_server=gained, holder_server_at_reuse=served)

    def _knock(self, trial: dict[str, Any], pair: prompts.PromptPair, tokens: int) -> None:
        trial["knockout"], trial["knockout_how"] = self._salted("knockout", pair, tokens, trial["index"]), "salt"

    def _salted(self, role: str, pair: prompts.PromptPair, tokens: int, label: Any) -> dict[str, Any]:
        return self.ask(
            "receiver", role, pair.reuse, f"{label}-{role}", max_tokens=tokens, extra=self.knockout_fields()
        )

    # ---- controls

    def controls(self) -> None:
        """Never-seen and the second recompute."""
        trials = self.probe["trials"]
        if not trials or self.gave_up() or all(trial["reuse"] is None for trial in trials):
            return
        pair, tokens = self._last
        unseen = prompts.with_other_prefix(pair, self.build())
        self.probe["never_seen"] = self.ask("receiver", "never_seen", unseen, "never", extra=STATS)
        self.probe["recompute"] = self._salted("recompute", pair, tokens, "second")
