# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""One engine: reads what it is told, starts as vLLM with LMCache does, line by line, and serves."""

from __future__ import annotations

import asyncio
import os
import uuid
from pathlib import Path
from string import Template
from typing import IO, Any

from .cache import CacheRank, settled
from .connector import Connector, EngineDead, KVConnector
from .engine_http import EngineSite
from .hashing import ChunkHasher
from .host import Host
from .internal_http import InternalSite
from .lmconfig import LMCacheConfig, Refused, load
from .log import Log
from .model import Model
from .mp.connector import MPConnector
from .pace import Pace
from .pd.nixl import NixlConnector
from .scheduler import Scheduler
from .settings import Parameters, Shape, engine_options, weights_of
from .stats import Page
from .tokenizer import standard

KV_TOKENS = 262_144  # of vLLM's own cache, as on the lab's CPUs
MODULES = ("env", "loglevel", "metrics", "periodic_thread", "run_script", "thread", "backend", "bypass", "cache",
           "chunk_statistics", "conf", "freeze", "hot_cache", "inference", "load_fs_chunks", "lookup", "version",
           "key_stats", "worker_info")  # fmt: skip
_VLLM_CONFIG = Template((Path(__file__).parent / "data" / "vllm_config.txt").read_text(encoding="utf-8").strip())


class EngineExit(Exception):
    """The engine gave up while it started; its log says why."""


class Engine:
    """``arguments`` are vLLM's, ``env`` is the engine's whole environment, ``stream`` takes its log.

    ``given`` parameters win over those of the environment.
    """

    def __init__(self, arguments: list[str], env: dict[str, str], stream: IO[str],
                 given: dict[str, Any] | None = None):  # fmt: skip
        self.options = options = engine_options(arguments, env)
        parameters = Parameters.of(env, given)
        self._log = Log(stream, level=env.get("LMCACHE_LOG_LEVEL", "INFO"), pid=os.getpid(),
                        vllm_level=env.get("VLLM_LOGGING_LEVEL", "INFO"), shift_s=parameters.log_shift_s)  # fmt: skip
        multiprocess = bool(env.get("PROMETHEUS_MULTIPROC_DIR"))
        self._page = Page(
            {"$model": options.model, "$served": options.name, "$block_size": str(options.block_size),
             "$prefix_caching": str(options.prefix_caching)}, options.world_size,
            lmcache=multiprocess and options.uses_lmcache(), multiprocess=multiprocess,
            connector=(options.connector or {}).get("kv_connector"),
            loads=(options.connector or {}).get("kv_role") in ("kv_consumer", "kv_both"))  # fmt: skip
        self._shape = Shape.of(options.model)
        self._host = Host(options, self._shape, env, parameters, self._log,
                          Pace(parameters, f"{options.host}:{options.port}"), self._page)  # fmt: skip
        self._engine_id = str(uuid.uuid4())
        self._tasks: list[asyncio.Task] = []
        self._sites: list[Any] = []
        self._connector: KVConnector | None = None
        self.dead = asyncio.Event()  # its core died; whoever runs it ends it
        self._scheduler: Scheduler | None = None
        self._counted = (0.0, 0.0)

    # ---- start and stop

    async def start(self) -> None:
        """Serves when it returns.  Raises EngineExit where the real engine ends while it starts."""
        options, say = self.options, self._log.say
        say("vllm_arguments", arguments=self._arguments())
        say("vllm_model", max_model_len=options.max_model_len)
        if options.uses_lmcache() or options.uses_lmcache_server():
            say("vllm_connector")
        say("vllm_core", vllm=self._host.parameters.vllm_version, vllm_config=self._vllm_config(),
            host=options.host, world_size=options.world_size, dist=uuid.uuid4().hex,
            model=options.model, max_model_len=f"{options.max_model_len:,}",
            kv_tokens=f"{KV_TOKENS:,}", concurrency=f"{KV_TOKENS / options.max_model_len:.2f}")  # fmt: skip
        self._page.put("vllm:engine_sleep_state", 1.0, sleep_state="awake")
        self._page.put("vllm:cache_config_info", 1.0)
        if options.uses_lmcache():
            await self._start_lmcache()
        elif options.uses_lmcache_server():
            self._connector = MPConnector(self._host, self._engine_id)
            await self._connector.start()
        elif options.uses_nixl():
            self._connector = NixlConnector(self._host, self._engine_id, KV_TOKENS // options.block_size)
            await self._connector.start()
        await self._host.pace.take(self._host.parameters.start_s)
        tokenizer = standard(self._shape.vocabulary)
        model = Model(self._host.parameters.weights or weights_of(options.model), tokenizer)
        self._scheduler = Scheduler(self._host, model, self._connector, KV_TOKENS // options.block_size)
        site = EngineSite(self._host, self._scheduler, tokenizer, self._die)
        say("vllm_serving", host=options.host, port=options.port)
        say("vllm_routes")
        say("vllm_ready")
        await site.start(options.host, options.port, options.tls)
        self._sites.append(site)
        self._tasks.append(asyncio.create_task(self._report()))

    def _die(self, cause: EngineDead) -> None:
        self._log.say("engine_dead", cause=cause)
        self.dead.set()

    async def stop(self) -> None:
        await settled(self._tasks)
        for site in self._sites:
            await site.close()
        if self._connector:
            await self._connector.close()
        self._log.say("stopped")

    async def _report(self) -> None:
        """vLLM's line on throughput, every ten seconds while there is something to tell."""
        idle = 0
        while True:
            await asyncio.sleep(10.0)
            page, scheduler = self._page, self._scheduler
            prompt = page.value("vllm:prompt_tokens_by_source", source="local_compute")
            made = page.value("vllm:generation_tokens")
            before, self._counted = self._counted, (prompt, made)
            idle = idle + 1 if before == self._counted and not scheduler.waiting else 0
            if idle > 1:
                continue
            rates = {name: page.value(f"vllm:{name}_hits") / max(1.0, page.value(f"vllm:{name}_queries"))
                     for name in ("prefix_cache", "external_prefix_cache")}  # fmt: skip
            prefix = f"Prefix cache hit rate: {rates['prefix_cache']:.1%}" if self.options.prefix_caching else ""
            external = f"External prefix cache hit rate: {rates['external_prefix_cache']:.1%}"
            self._log.say("throughput", prompt=f"{(prompt - before[0]) / 10:.1f}",
                          generation=f"{(made - before[1]) / 10:.1f}", running=scheduler.running,
                          waiting=scheduler.waiting, prefix_rate=prefix,
                          external_rate=(", " if prefix else "") + external if self._connector else "")  # fmt: skip

    # ---- LMCache

    async def _start_lmcache(self) -> None:
        options, say = self.options, self._log.say
        say("connector_worker", engine_id=self._engine_id)
        self._modules()
        try:
            config = load(self._host.env, options.connector, say)
        except Refused as refused:
            say("config_refused", cause=refused.cause, reason=refused.reason)
            raise EngineExit(refused.cause) from refused
        hasher = ChunkHasher(config["pre_caching_hash_algorithm"], config["chunk_size"], self._host.env,
                             lambda: self._host.pace.chance.getrandbits(64))  # fmt: skip
        ranks = [CacheRank(self._host, config, hasher, rank) for rank in range(options.world_size)]
        self._connector = Connector(self._host, config, ranks)
        for rank in ranks:
            await self._start_rank(rank, config, hasher)
        for rank in ranks:
            if rank.state == "ok":
                await rank.start_backends()
            else:
                say("kv_caches")
                say("post_init_skipped")
        say("vllm_init_took", seconds="0.42")
        say("connector_scheduler", engine_id=self._engine_id)
        await self._start_scheduler_side(config, ranks[0], hasher)
        self._tasks.append(asyncio.create_task(self._flush(ranks)))

    def _modules(self) -> None:
        for module in MODULES:
            self._log.say("api_modules", module=module + "_api")

    def _say_hash(self, hasher: ChunkHasher) -> None:
        if hasher.supported:
            self._log.say("hash_loaded", algorithm=hasher.algorithm)
        else:
            self._log.say("hash_not_in_vllm", algorithm=hasher.algorithm)
            if not hasher.seeded:
                self._log.say("hash_seed_unset")
        self._log.say("none_hash", value=hasher.none_hash, algorithm=hasher.algorithm)

    def _say_metadata(self, rank: CacheRank) -> None:
        self._log.say("metadata", layers=self._shape.layers, chunk_size=rank.config["chunk_size"], heads=rank.heads,
                      head_size=self._shape.head_size, hidden=rank.heads * self._shape.head_size,
                      kv_shape=rank.kv_shape())  # fmt: skip

    async def _start_rank(self, rank: CacheRank, config: LMCacheConfig, hasher: ChunkHasher) -> None:
        say = self._log.say
        self._say_metadata(rank)
        say("engine_instance")
        self._say_hash(hasher)
        say("config", values=config.values)
        try:
            await rank.start_worker()
        except (OSError, IndexError) as exc:
            rank.components_failed(exc)
            return
        say("engine_threads")
        if config["enable_async_loading"]:
            say("lookup_server_async", engine_id=self._engine_id, worker=rank.rank)
        else:
            say("lookup_server_sync")
        self._modules()
        await self._start_api(config, rank, "WORKER")

    async def _start_scheduler_side(self, config: LMCacheConfig, rank: CacheRank, hasher: ChunkHasher) -> None:
        self._modules()
        load(self._host.env, self.options.connector, self._log.say)  # a process of its own reads the file again
        self._say_metadata(rank)
        kind = "lookup_client_async" if config["enable_async_loading"] else "lookup_client_sync"
        for worker in range(self.options.world_size):
            self._log.say(kind, engine_id=self._engine_id, worker=worker)
        if config["enable_async_loading"]:
            self._log.say("lookup_client_async_scheduler", engine_id=self._engine_id)
        self._say_hash(hasher)
        self._modules()
        await self._start_api(config, None, "SCHEDULER")

    async def _start_api(self, config: LMCacheConfig, rank: CacheRank | None, role: str) -> None:
        offset = 0 if rank is None else 1 + rank.rank
        port = config["internal_api_server_port_start"] + offset
        meta = self._meta(rank, role)
        site = None
        if config["internal_api_server_enabled"]:
            self._log.say("internal_api", port=port)
            site = InternalSite(config, rank, host=self._host, meta=meta, inference=self._inference())
        else:
            self._log.say("internal_api_off", offset=offset, port=port)
        shown = "None" if rank is None else f"LMCacheMetadata({self._meta_repr(meta)})"
        told = self._host.parameters
        self._log.say("initialized", role=role, meta=shown, lmcache=told.lmcache_build, vllm=told.vllm_version)
        if site:
            self._log.say("internal_api_runs", port=port)
            try:
                await site.start(config["internal_api_server_host"], port)
                self._sites.append(site)
            except OSError:
                pass  # uvicorn's own thread ends, the engine goes on

    def _meta(self, rank: CacheRank | None, role: str) -> dict[str, Any]:
        one = rank or self._connector.ranks[0]
        worker = rank.rank if rank else 0
        size = self.options.world_size
        return {
            "chunk_size": one.config["chunk_size"], "engine_id": self._engine_id, "first_rank": 0,
            "kv_connector_extra_config": (self.options.connector or {}).get("kv_connector_extra_config") or {},
            "kv_dtype": f"torch.{self.options.kv_dtype}", "kv_layer_groups_manager": None,
            "kv_shape": list(one.kv_shape()), "local_worker_id": worker, "local_world_size": size,
            "model_name": self.options.model, "role": role.lower(), "served_model_name": self.options.name,
            "use_mla": False, "worker_id": worker, "world_size": size,
        }  # fmt: skip

    @staticmethod
    def _meta_repr(meta: dict[str, Any]) -> str:
        shown = {**meta, "kv_shape": tuple(meta["kv_shape"])}
        names = ("model_name", "world_size", "local_world_size", "worker_id", "local_worker_id", "kv_dtype", "kv_shape",
                 "use_mla", "role", "served_model_name", "chunk_size", "kv_layer_groups_manager", "engine_id",
                 "kv_connector_extra_config")  # fmt: skip
        return ", ".join(f"{name}={shown[name] if name == 'kv_dtype' else repr(shown[name])}" for name in names)

    def _inference(self) -> dict[str, Any]:
        told = self._host.parameters
        return {
            "vllm_version": told.vllm_version, "lmcache_version": told.lmcache_build,
            "vllm_config": self._vllm_config(),
            "model_config": {
                "model": self.options.model, "dtype": f"torch.{self.options.dtype}",
                "max_model_len": self.options.max_model_len, "vocab_size": None, "num_layers": self._shape.layers,
                "num_attention_heads": self._shape.heads, "num_kv_heads": self._shape.heads,
                "head_size": self._shape.head_size},
            "cache_config": {
                "block_size": self.options.block_size, "cache_dtype": self.options.kv_cache_dtype,
                "gpu_memory_utilization": 0.92, "swap_space": None,
                "enable_prefix_caching": self.options.prefix_caching},
        }  # fmt: skip

    async def _flush(self, ranks: list[CacheRank]) -> None:
        while True:
            for rank in ranks:
                rank.stats.flush()
            await asyncio.sleep(self._host.parameters.flush_s)

    # ---- what vLLM says of itself

    def _arguments(self) -> str:
        given = dict(self.options.given)
        connector = given.pop("kv_transfer_config", None)
        parts = [f"{name!r}: {value!r}" for name, value in given.items() if name != "api_key"]
        if "api_key" in given:
            parts.append("'api_key': ['***']")
        if connector:
            shown = {"kv_connector": None, "engine_id": self._engine_id, "kv_buffer_device": "cpu", "kv_role": None,
                     "kv_port": 14579, "kv_connector_extra_config": {}, "kv_connector_module_path": None,
                     "enable_permute_local_kv": False, "kv_load_failure_policy": "fail", **connector}  # fmt: skip
            inner = ", ".join(f"{name}={value!r}" for name, value in shown.items())
            parts.append(f"'kv_transfer_config': KVTransferConfig({inner})")
        return "{" + ", ".join(parts) + "}"

    def _vllm_config(self) -> str:
        options = self.options
        return _VLLM_CONFIG.safe_substitute(
            model=options.model, dtype=f"torch.{options.dtype}", max_model_len=options.max_model_len,
            world_size=options.world_size, served=options.name, prefix_caching=options.prefix_caching,
            eager=options.eager, kv_cache_dtype=options.kv_cache_dtype)  # fmt: skip
