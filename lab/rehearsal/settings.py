# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""What an engine is told: vLLM's command line, the model's shape, and the rehearsal's own parameters."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

DTYPE_BYTES = {"bfloat16": 2, "float16": 2, "half": 2, "float32": 4, "float": 4, "fp8": 1, "fp8_e4m3": 1,
               "fp8_e5m2": 1, "int8": 1}  # fmt: skip
KV_DTYPES = {"fp8": "float8_e4m3fn", "fp8_e4m3": "float8_e4m3fn", "fp8_e5m2": "float8_e5m2"}
COMMIT = "g3e11e108"
#: LMCache's short names of dtypes, which are part of a key (lmcache/utils.py)
DTYPE_NAMES = {"bfloat16": "bfloat16", "float16": "half", "half": "half", "float32": "float", "float": "float"}


@dataclass
class Parameters:
    """How fast the rehearsal is and what is broken in it.  Times in seconds, speeds in GB/s.

    Given as JSON in REHEARSAL, as YAML in the file REHEARSAL_FILE, or one by one as REHEARSAL_<NAME>=<JSON>.
    """

    start_s: float = 0.0  # before the server listens
    prefill_base_s: float = 0.004
    prefill_token_s: float = 0.00006
    decode_token_s: float = 0.002
    first_logprobs_s: float = 0.3  # the first request with logprobs costs more, as in vLLM
    handshake_s: float = 0.03  # first contact of two peers
    transfer_latency_s: float = 0.001
    transfer_gb_s: float = 2.0
    load_gb_s: float = 8.0
    jitter: float = 0.0  # of every time, relative, one sigma
    noise_nats: float = 0.0  # added to log-probabilities, one sigma
    seed: int = 0
    flush_s: float = 10.0  # LMCache publishes its counters so often
    lookup_poll_s: float = 0.01
    lookup_loss: float = 0.0  # share of lookup replies that stall, as in LMCache 0.5.6 as shipped
    register_limit_s: float = 30.0  # also of a lookup's and a peer's reply
    vllm_version: str = "0.32.0"  # what is told of it; the behaviour stays
    lmcache_version: str = "0.5.6"
    weights: str | None = None  # another model under the same name
    fault: str | None = None  # see faults.py
    log_shift_s: float = 0.0  # a clock that is wrong
    shared_dir: str | None = None  # where remote_url's store lies; default: a folder in TMPDIR

    @property
    def lmcache_build(self) -> str:
        return f"{self.lmcache_version}-{COMMIT}"

    @classmethod
    def of(cls, env: Mapping[str, str], given: Mapping[str, Any] | None = None) -> Parameters:
        """From the environment, else defaults; ``given`` wins.  Raises ValueError for an unknown name."""
        values: dict[str, Any] = {}
        if env.get("REHEARSAL_FILE"):
            values.update(yaml.safe_load(Path(env["REHEARSAL_FILE"]).read_text(encoding="utf-8")) or {})
        if env.get("REHEARSAL"):
            values.update(json.loads(env["REHEARSAL"]))
        names = {one.name for one in dataclasses.fields(cls)}
        for name in names:
            if f"REHEARSAL_{name.upper()}" in env:
                values[name] = json.loads(env[f"REHEARSAL_{name.upper()}"])
        if env.get("LAB_STALL_FIX") == "0":
            values.setdefault("lookup_loss", 0.15)
        if env.get("LAB_FAULT"):
            values.setdefault("fault", env["LAB_FAULT"])
        values.update(given or {})
        unknown = sorted(set(values) - names)
        if unknown:
            known = ", ".join(sorted(names))
            raise ValueError(f"rehearsal: no such parameter: {', '.join(unknown)} (there are: {known})")
        return cls(**values)


@dataclass
class Shape:
    """The model's shape, which decides the size of its KV; defaults are those of the lab's tiny Llama."""

    layers: int = 4
    heads: int = 4
    head_size: int = 64
    vocabulary: int = 2048
    max_position: int = 8192

    @classmethod
    def of(cls, model: str) -> Shape:
        """From the model folder's config.json where there is one."""
        try:
            found = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return cls()
        heads = found.get("num_attention_heads", cls.heads)
        return cls(
            layers=found.get("num_hidden_layers", cls.layers),
            heads=found.get("num_key_value_heads", heads),
            head_size=found.get("head_dim") or found.get("hidden_size", cls.head_size * heads) // heads,
            vocabulary=found.get("vocab_size", cls.vocabulary),
            max_position=found.get("max_position_embeddings", cls.max_position),
        )


def weights_of(model: str) -> str:
    """What tells two models apart: the beginning of their weights, wherever they lie."""
    for path in sorted(Path(model).glob("*.safetensors")):
        with open(path, "rb") as file:
            return hashlib.sha256(file.read(1 << 16)).hexdigest()
    return "rehearsal"


@dataclass
class EngineOptions:
    """vLLM's options as far as they matter here; ``given`` holds all that differ from vLLM's defaults."""

    model: str
    served: list[str]
    host: str
    port: int
    max_model_len: int
    dtype: str
    kv_cache_dtype: str
    prefix_caching: bool
    tokens_details: bool
    connector: dict[str, Any] | None
    world_size: int
    block_size: int
    batched_tokens: int
    max_logprobs: int
    api_keys: list[str]
    tls: tuple[str, str | None] | None
    eager: bool
    given: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.served[0]

    @property
    def kv_dtype(self) -> str:
        """The dtype of a KV element, as torch calls it."""
        return KV_DTYPES.get(self.kv_cache_dtype, self.dtype)

    @property
    def element_bytes(self) -> int:
        return DTYPE_BYTES.get(self.kv_cache_dtype if self.kv_cache_dtype != "auto" else self.dtype, 2)

    def uses_lmcache(self) -> bool:
        """Within the engine."""
        return bool(self.connector) and self.connector.get("kv_connector") == "LMCacheConnectorV1"

    def uses_nixl(self) -> bool:
        """Without LMCache."""
        return bool(self.connector) and self.connector.get("kv_connector") == "NixlConnector"

    def uses_lmcache_server(self) -> bool:
        return bool(self.connector) and self.connector.get("kv_connector") == "LMCacheMPConnector"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vllm", allow_abbrev=False, add_help=False)
    add = parser.add_argument
    add("model_tag", nargs="?")
    add("--model")
    add("--served-model-name", nargs="+")
    add("--host")
    add("--port", type=int, default=8000)
    add("--max-model-len", type=int)
    add("--dtype", default="auto")
    add("--kv-cache-dtype", default="auto")
    add("--enable-prefix-caching", action=argparse.BooleanOptionalAction, default=True)
    add("--enable-prompt-tokens-details", action=argparse.BooleanOptionalAction, default=False)
    add("--kv-transfer-config", type=json.loads)
    add("--tensor-parallel-size", "-tp", type=int, default=1)
    add("--block-size", type=int, default=128)
    add("--max-num-batched-tokens", type=int, default=2048)
    add("--max-logprobs", type=int, default=20)
    add("--api-key", nargs="+", default=[])
    add("--enforce-eager", action="store_true")
    add("--distributed-executor-backend")
    add("--ssl-certfile")
    add("--ssl-keyfile")
    return parser


def engine_options(arguments: list[str], env: Mapping[str, str]) -> EngineOptions:
    """Reads vLLM's command line; options that are not known here are left alone.  Exits as argparse does."""
    parser = _parser()
    if arguments[:1] == ["serve"]:
        arguments = arguments[1:]
    found, _unknown = parser.parse_known_args(arguments)
    model = found.model or found.model_tag
    if not model:
        parser.error("no --model is given")
    dtype = "bfloat16" if found.dtype == "auto" else found.dtype
    given = {key: value for key, value in vars(found).items()
             if value != parser.get_default(key) and key != "model_tag"}  # fmt: skip
    keys = found.api_key or [key for key in [env.get("VLLM_API_KEY")] if key]
    return EngineOptions(
        model=model, served=found.served_model_name or [model], host=found.host or "0.0.0.0", port=found.port,
        max_model_len=found.max_model_len or Shape.of(model).max_position, dtype=dtype,
        kv_cache_dtype=found.kv_cache_dtype, prefix_caching=found.enable_prefix_caching,
        tokens_details=found.enable_prompt_tokens_details, connector=found.kv_transfer_config,
        world_size=found.tensor_parallel_size, block_size=found.block_size,
        batched_tokens=found.max_num_batched_tokens, max_logprobs=found.max_logprobs, api_keys=keys,
        tls=(found.ssl_certfile, found.ssl_keyfile) if found.ssl_certfile else None,
        eager=found.enforce_eager, given=given)  # fmt: skip
