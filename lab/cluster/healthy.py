# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""What a healthy engine is started with, whatever starts it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .lab import Controller, Node

INIT_PORT, LOOKUP_PORT = 8200, 8201  # of the first rank
PORTS_BETWEEN_RANKS = 10
PD_INIT_PORT, PD_PROXY_PORT = 7300, 7500
PD_BUFFER = 256 << 20  # bytes


def lmcache_settings(
    node: Node, controller: Controller | None, *, chunk_size: int = 256, ranks: int = 1
) -> dict[str, Any]:
    """LMCache's file.  Its internal API keeps its default address, 127.0.0.1, as on a real node."""

    def ports(first: int) -> int | list[int]:
        """One for each rank, which takes it by its number."""
        return [first + PORTS_BETWEEN_RANKS * rank for rank in range(ranks)] if ranks > 1 else first

    settings = {
        "chunk_size": chunk_size,
        "local_cpu": True,
        "max_local_cpu_size": 2.0,
        "enable_async_loading": True,
        "enable_p2p": True,
        "p2p_host": node.address,
        "p2p_init_ports": ports(INIT_PORT),
        "p2p_lookup_ports": ports(LOOKUP_PORT),
        "transfer_channel": "nixl",
        "nixl_backends": ["UCX"],
        "enable_controller": True,
        "lmcache_instance_id": node.name,
    }
    if controller:
        settings["controller_pull_url"] = f"{controller.address}:{controller.pull_port}"
        settings["controller_reply_url"] = f"{controller.address}:{controller.reply_port}"
    return {
        **settings,
        "lmcache_worker_ports": ports(node.lmcache_worker_port),
        "internal_api_server_enabled": True,
        "internal_api_server_port_start": node.internal_api_port,
    }


def internal_ports(node: Node) -> list[str]:
    """Where LMCache's internal API of a node with one rank listens."""
    return [f"127.0.0.1:{node.internal_api_port + offset}" for offset in (0, 1)]


def pd_settings(node: Node, proxy: str, *, chunk_size: int = 256) -> dict[str, Any]:
    """LMCache's file of a sender (prefill) or receiver of its prefill/decode transfer.  proxy: address of nobody."""
    if node.role == "prefill":
        role = {"pd_role": "sender", "pd_proxy_host": proxy, "pd_proxy_port": PD_PROXY_PORT}
        role["pd_skip_proxy_notification"] = True
    else:
        role = {"pd_role": "receiver", "pd_peer_host": node.address}
        # the alloc port binds every address
        role |= {"pd_peer_init_port": PD_INIT_PORT, "pd_peer_alloc_port": node.lmcache_worker_port}
    return {
        "chunk_size": chunk_size,
        "local_cpu": False,
        "max_local_cpu_size": 0.5,
        "enable_async_loading": False,
        "enable_pd": True,
        "transfer_channel": "nixl",
        "nixl_backends": ["UCX"],
        **role,
        "pd_buffer_size": PD_BUFFER,
        "pd_buffer_device": "cpu",
        "internal_api_server_enabled": True,
        "internal_api_server_port_start": node.internal_api_port,
    }


def engine_arguments(
    node: Node, *, model: Path | str, served: str = "tiny", dtype: str = "float32", connector: dict[str, Any] | None
) -> list[str]:
    """vLLM's command line.  connector: --kv-transfer-config over LMCache's own, None for no connector."""
    words = ["--model", str(model), "--served-model-name", served, "--host", node.address, "--port", str(node.port)]
    words += ["--max-model-len", "4096", "--enforce-eager", "--dtype", dtype]
    words += ["--no-enable-prefix-caching", "--enable-prompt-tokens-details"]
    if connector is None:
        return words
    lmcache = {"kv_connector": "LMCacheConnectorV1", "kv_role": "kv_both"}
    return [*words, "--kv-transfer-config", json.dumps({**lmcache, **connector})]


def controller_arguments(host: str, port: int, monitor_ports: dict[str, int]) -> list[str]:
    """lmcache_controller's command line."""
    return ["--host", host, "--port", str(port), "--monitor-ports", json.dumps(monitor_ports)]


def words(options: dict[str, Any]) -> list[str]:
    """A command line's options: True is given without a value, False with ``no-`` before its name."""
    found: list[str] = []
    for name, value in options.items():
        if isinstance(value, bool):
            found.append(f"--{name}" if value else f"--no-{name}")
        else:
            found += [f"--{name}", str(value)]
    return found


def engine_environment(address: str, *, settings: Path, metrics: Path) -> dict[str, str]:
    """The engine's environment.  settings: LMCache's file; metrics: the folder of its metrics."""
    return {
        "PYTHONHASHSEED": "0",
        "PROMETHEUS_MULTIPROC_DIR": str(metrics),
        "LMCACHE_CONFIG_FILE": str(settings),
        "LMCACHE_LOG_LEVEL": "INFO",
        "LMCACHE_TRACK_USAGE": "false",
        "LMCACHE_USE_EXPERIMENTAL": "True",
        "UCX_TLS": "tcp",
        "UCX_NET_DEVICES": "lo",
        "VLLM_HOST_IP": address,
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_NO_USAGE_STATS": "1",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "TORCHDYNAMO_DISABLE": "1",
        "LAB_NODE_ADDRESS": address,
    }


CONTROLLER_ENVIRONMENT = {"PYTHONHASHSEED": "0", "LMCACHE_LOG_LEVEL": "INFO", "LMCACHE_TRACK_USAGE": "false"}
