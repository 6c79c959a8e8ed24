# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""The spec of an engine: what all architectures have in common, and what a fault changes in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from . import healthy
from .fault import Fault, applied, changes, merged
from .lab import BASE_ENVIRONMENT, Lab, Node


def spec(
    lab: Lab,
    fault: Fault,
    node: Node,
    *,
    connector: dict[str, Any],
    ports: Sequence[str],
    environment: dict[str, Any] | None = None,
    arguments: Sequence[str] = (),
    settings: dict[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A healthy engine of this architecture as the fault leaves it.

    connector: --kv-transfer-config.  ports: "address:port", besides its API's.  environment: over every engine's; None
    removes a name.  settings: LMCache's file, None where none is read.  more: of the spec (supervise.py).
    """
    changed, home = changes(fault, node.role), lab.home(node.name)
    sockets = lab.socket_dir / str(lab.nodes.index(node))
    told = None
    if changed["connector"] is not None:
        told = merged(connector, changed["connector"])
        if told["kv_connector"] == "LMCacheConnectorV1":
            told = {**told, **lab.stack.connector}
    words = healthy.engine_arguments(
        node,
        model=f"{lab.model}-copy" if changed["model_copy"] else lab.model,
        served=lab.model_name,
        dtype=lab.dtype,
        connector=told,
    )
    usual = {
        **BASE_ENVIRONMENT,
        **healthy.engine_environment(node.address, settings=home / "lmcache.yaml", metrics=home / "prometheus"),
        "HOME": str(home / "home"),
        "TMPDIR": str(sockets),
        "PYTHONPATH": str(lab.stack.modules),
        "LAB_NIXL": lab.nixl,
        "LAB_STALL_FIX": "1" if lab.stall_fix else "0",
    }
    files = []
    if settings is not None:
        text = yaml.safe_dump(settings, indent=4, allow_unicode=True, sort_keys=False)
        content = f"# LMCache on {node.name}, written by kv_lab\n{text}"
        files = [{"path": str(home / "lmcache.yaml"), "content": content, "mode": lab.config_mode}]
    held = (fault.get("listen") or {}).get("silent", [])  # by an obstacle
    return lab.process(
        node.name,
        [lab.python, "-m", "vllm.entrypoints.openai.api_server", *words, *arguments, *changed["arguments"]],
        env={name: str(value) for name, value in applied(usual, environment or {}, changed["env"]).items()},
        cwd=str(home),
        user=lab.engine_user or None,
        log_mode=lab.log_mode,
        fresh_dirs=[str(home / "home"), str(home / "prometheus"), str(sockets)],
        files=files,
        ports=[port for port in (f"{node.address}:{node.port}", *ports) if port not in held],
        watch=lab.stack.sources,
        **{"ready_urls": [f"http://{node.address}:{node.port}/health"], **more},
    )


def settings(usual: dict[str, Any], fault: Fault, node: Node, edited: bool) -> dict[str, Any]:
    """A node's LMCache settings as the fault leaves them.  edited: whether its ``edit`` has been carried out."""
    edit = fault.get("edit") or {}
    over = {edit["key"]: edit["value"]} if edited and edit["role"] == node.role else {}
    return applied(usual, changes(fault, node.role)["lmcache"], over)
