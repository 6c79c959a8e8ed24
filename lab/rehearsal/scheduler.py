# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""One engine's requests: prefix cache, connector, prefill in steps, then a token at a time."""

from __future__ import annotations

import asyncio
import random
import time
from array import array
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from .connector import KVConnector, Load, LoadFailed
from .host import Host
from .model import Choice, Model
from .prefix import PrefixCache


@dataclass
class Request:
    """One prompt.  ``id`` is the one the logs show; ``params`` are its kv_transfer_params."""

    id: str
    tokens: list[int]
    max_tokens: int
    temperature: float = 0.0
    seed: int | None = None
    logprobs: bool = False
    prompt_logprobs: int | None = None
    salt: str | None = None
    params: dict[str, Any] | None = None
    cached: int = 0  # filled in: tokens that were not computed here
    answered: dict[str, Any] | None = None  # filled in: the answer's kv_transfer_params
    made: list[int] = field(default_factory=list)  # filled in: the answer's tokens
    failed: bool = False
    stopped: bool = False  # set by whoever reads the answer: it met a stop string
    prompt_choices: list[Choice] = field(default_factory=list)

    @property
    def lmcache(self) -> dict[str, Any] | None:
        """The lmcache.* part of ``params``."""
        return {key: value for key, value in (self.params or {}).items() if key.startswith("lmcache.")} or None


class Scheduler:
    """Serves requests; prefill is done for one at a time."""

    def __init__(self, host: Host, model: Model, connector: KVConnector | None, kv_blocks: int):
        self._options, self._model, self._connector = host.options, model, connector
        self._page, self._log, self._pace = host.page, host.log, host.pace
        self._prefix = PrefixCache(self._options.prefix_caching, self._options.block_size, kv_blocks)
        self._computing = asyncio.Lock()
        self._met_logprobs = False
        self.running = self.waiting = 0

    async def generate(self, request: Request) -> AsyncIterator[Choice]:
        """The tokens of the answer as they are made.  ``request.failed`` tells of a load that failed."""
        arrived = time.perf_counter()
        tokens, reads = request.tokens, request.prompt_logprobs is None
        computed, prompt_kv = 0, None
        self.waiting += 1
        try:
            kv = self._prefix.match(tokens, request.salt) if reads else array("Q")
            computed, load = len(kv), Load(0, 0, False)
            if self._connector:
                load = await self._connector.matched(request, computed, not reads)
        finally:
            self.waiting -= 1
        self.running += 1
        try:
            async with self._computing:
                scheduled = time.perf_counter()
                kv = await self._prefill(request, kv, load)
            context, prompt_kv = self._model.read(kv), kv
            self._count_prompt(request, computed, load)
            last, first_at = time.perf_counter(), None
            noise = random.Random(f"{self._pace.of.seed} {request.id}") if self._pace.of.noise_nats else None
            chance = random.Random(request.seed if request.seed is not None else request.id)
            for number in range(request.max_tokens):
                if number:
                    await self._pace.take(self._pace.of.decode_token_s)
                choice = context.step(noise, self._pace.of.noise_nats, request.temperature, chance)
                now = time.perf_counter()
                if first_at is None:
                    first_at = now
                    self._page.observe("vllm:time_to_first_token_seconds", now - arrived)
                else:
                    self._page.observe("vllm:inter_token_latency_seconds", now - last)
                    self._page.observe("vllm:iteration_tokens_total", 1)
                last = now
                request.made.append(choice.token)
                yield choice
                context.append(choice.token)
                if request.stopped:
                    break
            answer = len(context.kv) - len(tokens)
            self._prefix.put([*tokens, *self._model.readable(context.kv)[len(tokens) :]], context.kv, request.salt)
            self._count_finished(request, answer, (arrived, scheduled, first_at or last, last))
        except LoadFailed as exc:
            request.failed = True
            self._log.say("load_failed", tokens=exc.missing, id=request.id)
            now = time.perf_counter()
            self._count_finished(request, 0, (arrived, now, now, now))
        finally:
            self.running -= 1
            if self._connector:
                self._connector.finished(request, computed, prompt_kv)

    async def _prefill(self, request: Request, kv: array, load: Load) -> array:
        tokens, connector = request.tokens, self._connector
        computed = len(kv)
        if load.need and connector:
            kv = await self._load(request, load, computed, kv)
        elif connector and load.counted:
            connector.forget(request.id)
        if request.logprobs and not self._met_logprobs:
            self._met_logprobs = True
            await self._pace.take(self._pace.of.first_logprobs_s)
        # also when the load failed and all is computed anew
        request.cached = connector.cached(computed, load) if connector else computed
        saved, first = load.hit, True
        while len(kv) < len(tokens):
            step = min(self._options.batched_tokens, len(tokens) - len(kv))
            await self._pace.take(self._pace.prefill(step))
            kv.extend(self._model.compute(tokens[len(kv) : len(kv) + step], kv))
            self._page.observe("vllm:iteration_tokens_total", step + (1 if len(kv) == len(tokens) else 0))
            if connector:
                if first and load.counted:
                    connector.count_prompt(len(kv), computed)
                first = False
                saved = await connector.save(request, tokens[: len(kv)], kv, saved=saved,
                                             last=len(kv) == len(tokens))  # fmt: skip
        if request.prompt_logprobs is not None:
            request.prompt_choices = self._of_prompt(tokens)
        self._prefix.put(tokens, kv, request.salt)
        return kv

    async def _load(self, request: Request, load: Load, computed: int, kv: array) -> array:
        """KV with what the connector loaded; raises LoadFailed unless vLLM is told to recompute what failed."""
        try:
            return await self._connector.load(request.id, load, computed, kv)
        except LoadFailed as exc:
            if self._options.connector.get("kv_load_failure_policy") != "recompute":
                raise
            self._log.say("load_recomputed", tokens=exc.missing)
            load.lost = self._connector.counts_at_admission
            return kv

    def _of_prompt(self, tokens: list[int]) -> list[Choice]:
        """What the model would have said after each prompt token but the last; computed here, not from KV read."""
        context = self._model.read(self._model.compute(tokens[:1], array("Q")))
        found = []
        for token in tokens[1:]:
            found.append(context.step())
            context.append(token)
        return found

    # ---- counters

    def _count_prompt(self, request: Request, computed: int, load: Load) -> None:
        add, total, external = self._page.add, len(request.tokens), 0 if load.lost else load.need
        early = self._connector is not None and self._connector.counts_at_admission
        if self._options.prefix_caching and request.prompt_logprobs is None:
            add("vllm:prefix_cache_queries", total)
            add("vllm:prefix_cache_hits", computed)
        if self._connector and not early:
            add("vllm:external_prefix_cache_queries", total - computed)
            add("vllm:external_prefix_cache_hits", external)
        add("vllm:prompt_tokens", total)
        add("vllm:prompt_tokens_by_source", total - computed - external, source="local_compute")
        add("vllm:prompt_tokens_by_source", computed, source="local_cache_hit")
        add("vllm:prompt_tokens_by_source", external, source="external_kv_transfer")
        add("vllm:prompt_tokens_cached", computed + external)
        add("vllm:prompt_tokens_cached_by_source", computed, source="device")
        if not early:
            add("vllm:prompt_tokens_cached_by_source", external, source="external_unspecified")

    def _count_finished(self, request: Request, answer: int, times: tuple[float, float, float, float]) -> None:
        arrived, scheduled, first, last = times
        reason = "error" if request.failed else "stop" if request.stopped else "length"
        observe, total = self._page.observe, len(request.tokens)
        self._page.add("vllm:generation_tokens", answer)
        self._page.add("vllm:request_success", finished_reason=reason)
        observe("vllm:request_prompt_tokens", total)
        observe("vllm:request_generation_tokens", answer)
        observe("vllm:request_max_num_generation_tokens", answer)
        observe("vllm:request_params_n", 1)
        observe("vllm:request_params_max_tokens", request.max_tokens)
        observe("vllm:request_num_preemptions", 0)
        observe("vllm:request_prefill_kv_computed_tokens", total - request.cached)
        observe("vllm:request_queue_time_seconds", scheduled - arrived)
        observe("vllm:request_prefill_time_seconds", first - scheduled)
        observe("vllm:request_decode_time_seconds", last - first)
        observe("vllm:request_inference_time_seconds", last - scheduled)
        observe("vllm:e2e_request_latency_seconds", last - arrived)
        if answer > 1:
            observe("vllm:request_time_per_output_token_seconds", (last - first) / (answer - 1))
