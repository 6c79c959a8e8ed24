# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""LMCacheConnectorV1 as the scheduler sees it: how much of a prompt can be loaded, then loading and saving."""

from __future__ import annotations

import asyncio
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .cache import CacheRank, settled
from .host import Host
from .lmconfig import LMCacheConfig

if TYPE_CHECKING:
    from .scheduler import Request


@dataclass
class Load:
    """What a lookup came to: ``hit`` tokens known to LMCache, ``need`` of them to be loaded."""

    hit: int
    need: int
    counted: bool  # the lookup ran to its end, so LMCache counts this prompt


class LoadFailed(Exception):
    """Fewer tokens were loaded than the lookup had promised; ``missing`` of them."""

    def __init__(self, missing: int):
        self.missing = missing


class Connector:
    """One engine's connector over all its ranks."""

    def __init__(self, host: Host, config: LMCacheConfig, ranks: list[CacheRank]):
        self.config, self.ranks, self._log, self._pace = config, ranks, host.log, host.pace
        self._role = (host.options.connector or {}).get("kv_role", "kv_both")
        self._behind: set[asyncio.Future] = set()

    async def close(self) -> None:
        await settled(list(self._behind))
        for rank in self.ranks:
            await rank.close()

    async def matched(self, request: Request, computed: int, skips_reading: bool) -> Load:
        """Looks a prompt up.  ``skips_reading`` (prompt_logprobs): vLLM does not wait for an asynchronous answer."""
        request_id, tokens, told = request.id, request.tokens, request.lmcache
        if self.config["enable_async_loading"]:
            hit = await self._asynchronous(request_id, tokens, told, skips_reading)
        else:
            hit = min(rank.lookup(request_id, rank.keys(tokens, told), len(tokens)) for rank in self.ranks)
        if hit is None:
            return Load(0, 0, False)
        need = hit - computed - (1 if hit == len(tokens) else 0)
        least = self.config["min_retrieve_tokens"]
        below = least > 0 and need < least
        self._log.say("below_min_retrieve" if below else "looked_up", id=request_id, total=len(tokens),
                      computed=computed, hit=hit, need=max(need, 0), least=least)  # fmt: skip
        return Load(hit, 0 if below or skips_reading else max(need, 0), True)

    async def _asynchronous(self, request_id: str, tokens: list[int], request: dict[str, Any] | None,
                            skips_reading: bool) -> int | None:  # fmt: skip
        started = asyncio.get_running_loop().time()
        limit = self.config["lookup_timeout_ms"] / 1000
        lookups = [asyncio.ensure_future(self._one(rank, request_id, tokens, request)) for rank in self.ranks]
        answer = asyncio.gather(*lookups)
        self._behind.add(answer)
        answer.add_done_callback(self._behind.discard)
        while True:
            await asyncio.sleep(self._pace.of.lookup_poll_s)
            if skips_reading:
                answer.add_done_callback(lambda _done: self.forget(request_id))
                return None
            if answer.done():
                return min(answer.result())
            if asyncio.get_running_loop().time() - started > limit:
                self._log.say("lookup_timed_out", id=request_id, seconds=int(limit))
                answer.add_done_callback(lambda _done: self.forget(request_id))
                return 0

    async def _one(self, rank: CacheRank, request_id: str, tokens: list[int], request: dict[str, Any] | None) -> int:
        """One rank's answer; never comes where its LMCache cannot give one."""
        bad = next((value for value in (request or {}).values() if not isinstance(value, str)), None)
        if rank.state == "init-failed":
            self._log.say("lookup_server_error", error="")
        elif bad is not None and rank.state == "ok":
            kind = {bool: "bool", int: "int", float: "float", dict: "object", list: "array"}.get(type(bad), "null")
            self._log.say("lookup_server_error", error=f"Expected `str`, got `{kind}` - at `$.request_configs[...]`")
        if bad is not None or rank.state != "ok":
            await asyncio.Event().wait()
        return await rank.prefetch(request_id, rank.keys(tokens, request))

    def forget(self, request_id: str) -> None:
        for rank in self.ranks:
            rank.forget(request_id)

    async def load(self, request_id: str, load: Load, computed: int, kv: array) -> array:
        """KV of the first ``load.hit`` tokens: ``kv`` of the computed ones, the rest as it arrived.

        Raises LoadFailed.
        """
        chunks = [await rank.retrieve(request_id, load.hit, computed) for rank in self.ranks]
        got = min(sum(map(len, one)) for one in chunks)
        if got < load.hit:
            self._log.say("retrieved_too_little", id=request_id, tokens=got, expected=load.hit - computed)
            raise LoadFailed(load.hit - got)
        found = array("Q", kv)
        arrived = array("Q")
        for chunk in chunks[0]:
            arrived.extend(chunk)
        found.extend(arrived[computed : computed + load.need])
        return found

    def count_prompt(self, tokens: int, computed: int) -> None:
        """LMCache counts a prompt's whole chunks when its first step is scheduled."""
        size = self.config["chunk_size"]
        for rank in self.ranks:
            rank.stats.count("num_prompt_tokens", tokens // size * size)
            rank.stats.count("num_vllm_hit_tokens", computed)

    async def save(self, request: Request, tokens: list[int], kv: array, *, saved: int, last: bool) -> int:
        """Saves after a prefill step that reached the end of ``tokens``; returns how many tokens are saved now."""
        size = self.config["chunk_size"]
        boundary = -(-(saved + 1) // size) * size
        told = request.lmcache
        skip = (told or {}).get("lmcache.skip_save", False)
        if self._role == "kv_consumer" or skip or (saved > 0 and len(tokens) < boundary):
            return saved
        whole = len(tokens) if last and self.config["save_unfull_chunk"] else len(tokens) // size * size
        if whole != saved:
            lead = saved // size * size
            for rank in self.ranks:
                keys = rank.keys(tokens[:whole], told)
                await rank.store(request.id, keys, kv, lead)
        return whole
