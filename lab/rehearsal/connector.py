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
from .pd.backend import SPEC_KEYS, PutFailed

if TYPE_CHECKING:
    from .scheduler import Request


@dataclass
class Load:
    """What a lookup came to: ``hit`` tokens known to LMCache, ``need`` of them to be loaded."""

    hit: int
    need: int
    counted: bool  # the lookup ran to its end, so LMCache counts this prompt
    lost: bool = False  # what was to be loaded did not come, and vLLM counts it as computed


class LoadFailed(Exception):
    """Fewer tokens were loaded than the lookup had promised; ``missing`` of them."""

    def __init__(self, missing: int):
        self.missing = missing


class EngineDead(Exception):
    """What vLLM's engine core dies of: the last line of the traceback."""


class KVConnector:
    """What the scheduler asks of any connector besides ``matched``, ``load``, ``save`` and ``forget``."""

    source = "external_unspecified"  # of what it loads, as vLLM's counters call it
    counts_at_admission = False  # whether it counts what it is about to load by itself, come what may

    def forget(self, request_id: str) -> None:
        """The request wants no more of what was found for it."""

    def count_prompt(self, tokens: int, computed: int) -> None:
        """The first step of a prompt is scheduled."""

    async def save(self, request: Request, tokens: list[int], kv: array, *, saved: int, last: bool) -> int:
        """After a prefill step that reached the end of ``tokens``; returns how many tokens are saved now."""
        return saved

    def cached(self, computed: int, load: Load) -> int:
        """What the answer's usage calls cached."""
        return computed + load.need

    def finished(self, request: Request, computed: int, kv: array | None) -> None:
        """The request is over; ``kv`` of its prompt, None where it failed."""


class Connector(KVConnector):
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
        spec = (request.params or {}).get("disagg_spec")
        if isinstance(spec, dict):
            missing = next((key for key in SPEC_KEYS if key not in spec), None)
            if missing:
                raise EngineDead(f"KeyError: '{missing}'")
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
        # a producer stores whatever it is told
        skip = (told or {}).get("lmcache.skip_save", False) and self._role != "kv_producer"
        if self._role == "kv_consumer" or skip or (saved > 0 and len(tokens) < boundary):
            return saved
        whole = len(tokens) if last and self.config["save_unfull_chunk"] else len(tokens) // size * size
        if whole != saved:
            lead = saved // size * size
            for rank in self.ranks:
                keys = rank.keys(tokens[:whole], told)
                try:
                    await rank.store(request.id, keys, kv, lead, (request.params or {}).get("disagg_spec"))
                except TimeoutError:
                    raise EngineDead("TimeoutError: RPC call to execute_model timed out.") from None
                except PutFailed as exc:
                    self._log.say("worker_hit", cause=exc)
                    error = str(exc).partition(": ")[2]
                    raise EngineDead(f"RuntimeError: Worker failed with error '{error}', please check the stack trace "
                                     "above for the root cause") from exc  # fmt: skip
        return whole

    def finished(self, request: Request, computed: int, kv: array | None) -> None:
        """Answers the first token where LMCache is asked for it."""
        if request.made and (request.params or {}).get("ret_first_tok"):
            request.answered = {"first_tok": request.made[0]}
