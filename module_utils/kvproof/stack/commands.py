# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command lines of a vLLM engine and of LMCache's controller, cache server and coordinator: recognised, and
reduced to listed options."""

from __future__ import annotations

import json
import os
import re
from collections import namedtuple
from collections.abc import Container

from . import mp
from .redact import pick, plain
from .settings import LMCACHE_KEYS

#: What a process' command line says: its listed options, and the port and host it would listen on.  The
#: port is None where a configuration file may give it.
Command = namedtuple("Command", "options port host")

#: Command-line options of vLLM, without dashes in front.  `api-key`, `hf-token`, `ssl-*` never pass.
VLLM_OPTIONS = frozenset(
    """
    model served-model-name host port uds root-path config dtype max-model-len kv-cache-dtype block-size
    enable-prefix-caching no-enable-prefix-caching prefix-caching-hash-algo enable-prompt-tokens-details
    kv-transfer-config kv-transfer-config.kv-connector kv-offloading-backend tensor-parallel-size
    pipeline-parallel-size data-parallel-size data-parallel-rank decode-context-parallel-size enable-expert-parallel
    max-num-batched-tokens max-num-seqs max-logprobs enable-chunked-prefill no-enable-chunked-prefill seed
    quantization tokenizer revision enforce-eager distributed-executor-backend gpu-memory-utilization
    num-gpu-blocks-override load-format api-server-count disable-hybrid-kv-cache-manager
    no-disable-hybrid-kv-cache-manager enable-request-id-headers trust-remote-code headless
    """.split()
)
VLLM_SHORT_OPTIONS = {
    "tp": "tensor-parallel-size",
    "pp": "pipeline-parallel-size",
    "dp": "data-parallel-size",
    "dcp": "decode-context-parallel-size",
    "q": "quantization",
}
CONTROLLER_OPTIONS = frozenset(
    """
    config host port monitor-ports monitor-port health-check-interval lmcache-worker-timeout
    """.split()
)
#: Of `lmcache server` and `lmcache coordinator`, the multiprocess mode's (LMCache 0.5.6).  L2 adapters' options carry
#: credentials and never pass.
CACHE_SERVER_OPTIONS = frozenset(
    """
    instance-id host port http-host http-port prometheus-port chunk-size hash-algorithm l1-size-gb coordinator-url
    coordinator-advertise-ip p2p-advertise-url p2p-listen-url p2p-transfer-engine
    """.split()
)
COORDINATOR_OPTIONS = frozenset("host port chunk-size hash-algorithm".split())
_KV_TRANSFER_KEYS = frozenset(
    """
    kv_connector kv_role kv_rank kv_parallel_size kv_buffer_device kv_buffer_size kv_ip kv_port engine_id
    kv_load_failure_policy kv_connector_module_path enable_permute_local_kv
    """.split()
)
_KV_EXTRA_KEYS = frozenset(
    """
    discard_partial_chunks lmcache_rpc_port skip_last_n_tokens use_native lmcache.mp.host lmcache.mp.port
    """.split()
) | frozenset("lmcache." + key for key in LMCACHE_KEYS)

ENGINE_PORT = 8000  # vLLM's default
CONTROLLER_PORT = 9000  # lmcache_controller's default
_PYTHON = re.compile(r"^(python|pypy)[\d.]*$")
_LEADING_WORDS = 6  # interpreter, its options, -m and the module come first


def _after(words, programs, modules):
    """The words behind the program's name, None when this is another program (or a wrapper around one)."""
    if not words:
        return None
    first = os.path.basename(words[0])
    if first in programs:
        return words[1:]
    if not _PYTHON.match(first):
        return None
    for index, word in enumerate(words[1:_LEADING_WORDS], start=1):
        if word == "-c":
            return None
        is_module = words[index - 1] == "-m" and word in modules
        script = word.endswith(".py") and any(word.endswith(module.replace(".", "/") + ".py") for module in modules)
        if is_module or script or os.path.basename(word) in programs:
            return words[index + 1 :]
    return None


def engine(words: list[str]) -> Command | None:
    """A Command for vLLM's OpenAI server, however it was started (`vllm serve`, `-m vllm....api_server`)."""
    rest = _after(words, ("vllm",), ("vllm", "vllm.entrypoints.cli.main"))
    if rest is not None:
        if rest[:1] != ["serve"]:
            return None
        rest = rest[1:]
    else:
        rest = _after(words, (), ("vllm.entrypoints.openai.api_server", "vllm.entrypoints.api_server"))
        if rest is None:
            return None
    options = listed(rest, VLLM_OPTIONS, VLLM_SHORT_OPTIONS)
    if rest and not rest[0].startswith("-"):
        options.setdefault("model", plain(rest[0]))
    return _command(options, ENGINE_PORT)


def controller(words: list[str]) -> Command | None:
    """A Command for LMCache's controller (`lmcache_controller`, `-m lmcache.v1.api_server`)."""
    rest = _after(
        words,
        ("lmcache_controller",),
        ("lmcache.v1.api_server", "lmcache.v1.api_server.__main__", "lmcache.experimental.api_server"),
    )
    if rest is None:
        return None
    return _command(listed(rest, CONTROLLER_OPTIONS), CONTROLLER_PORT)


def cache_server(words: list[str]) -> Command | None:
    """A Command for the multiprocess mode's server (`lmcache server`), its port that of the message queue."""
    return _lmcache(words, "server", CACHE_SERVER_OPTIONS, mp.SERVER_PORT)


def coordinator(words: list[str]) -> Command | None:
    """A Command for the multiprocess mode's coordinator (`lmcache coordinator`, `-m lmcache.v1.mp_coordinator`)."""
    rest = _after(words, (), ("lmcache.v1.mp_coordinator",))
    if rest is not None:
        return _command(listed(rest, COORDINATOR_OPTIONS), mp.COORDINATOR_PORT)
    return _lmcache(words, "coordinator", COORDINATOR_OPTIONS, mp.COORDINATOR_PORT)


def _lmcache(words, command, names, default_port):
    rest = _after(words, ("lmcache",), ("lmcache.cli.main",))
    return None if rest is None or rest[:1] != [command] else _command(listed(rest[1:], names), default_port)


def _command(options, default_port):
    port = _integer(options.get("port"))
    if port is None and "config" not in options:
        port = default_port
    host = options.get("host")
    return Command(options, port, host if isinstance(host, str) else None)


def _integer(value):
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def controller_options(options: dict) -> dict:
    """CONTROLLER.options of listed command-line options: defaults filled in, monitor ports as numbers.

    Source: lmcache/v1/api_server/__main__.py of 0.5.6.  `--monitor-port` (up to 0.3.x; default 9001) is the
    pull port alone: such a controller has no reply port and cannot do P2P lookups.
    """
    ports = None
    if isinstance(options.get("monitor-ports"), str):
        try:
            given = json.loads(options["monitor-ports"])
            ports = {name: _integer(given.get(name)) for name in ("pull", "reply", "heartbeat")}
        except (ValueError, AttributeError):
            ports = None
    if ports is None:
        ports = {"pull": _integer(options.get("monitor-port")) or 9001, "reply": None, "heartbeat": None}
    port = _integer(options.get("port"))
    return {
        "host": options.get("host") if isinstance(options.get("host"), str) else "0.0.0.0",
        "port": CONTROLLER_PORT if port is None else port,
        "monitor_ports": ports,
    }


def listed(argv: list[str], names: Container[str], short: dict[str, str] | None = None) -> dict:
    """Options of a command line (list of words) reduced to `names`; keys without leading dashes.

    Understands `--name value`, `--name=value`, `--flag` (True) and underscores for dashes.  Words that
    belong to no listed option are dropped, values are redacted.
    """
    kept: dict = {}
    index = 0
    while index < len(argv):
        word = argv[index]
        index += 1
        if not word.startswith("-") or word in ("-", "--"):
            continue
        name, equals, text = word.lstrip("-").partition("=")
        name = name.replace("_", "-")
        if not word.startswith("--"):
            name = (short or {}).get(name, name)
        value: str | bool = text
        if not equals:
            has_value = index < len(argv) and (not argv[index].startswith("-") or _is_number(argv[index]))
            value = argv[index] if has_value else True
            index += has_value
        if name in names:
            kept[name] = kv_transfer_config(value) if name == "kv-transfer-config" else plain(value)
    return kept


def kv_transfer_config(value: object) -> dict | None:
    """vLLM's `--kv-transfer-config`: a JSON string or a dict, reduced to listed keys, `connectors` included.

    `kv_connector_extra_config` keeps `lmcache.<listed key>` only.  Returns None for what is not an object.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    if not isinstance(value, dict):
        return None
    kept = pick(value, _KV_TRANSFER_KEYS)
    extra = value.get("kv_connector_extra_config")
    if isinstance(extra, dict):
        kept["kv_connector_extra_config"] = pick(extra, _KV_EXTRA_KEYS)
        if isinstance(extra.get("connectors"), list):
            kept["connectors"] = [kv_transfer_config(item) for item in extra["connectors"][:8]]
    return kept


def _is_number(word):
    try:
        float(word)
    except ValueError:
        return False
    return True
