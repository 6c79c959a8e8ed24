# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that turn a probe's evidence into what the node tasks need."""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import urlsplit

try:
    from ..module_utils.kvproof import assemble
except ImportError:  # in place the tree is no package: the core lies beside this folder
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "module_utils"))
    from kvproof import assemble


class FilterModule:
    """kv_reuse_probes, kv_reuse_ids, kv_reuse_peers, kv_reuse_host, kv_reuse_port."""

    def filters(self):
        return {
            "kv_reuse_probes": probes,
            "kv_reuse_ids": ids,
            "kv_reuse_peers": assemble.peers_listed,
            "kv_reuse_host": host,
            "kv_reuse_port": port,
        }


def probes(hostvars, pairs, host) -> list[dict]:
    """The probes of this run in which a host takes part, each with the role it has there."""
    found = []
    for receiver in dict.fromkeys(pair["receiver"] for pair in pairs):
        results = (hostvars[receiver].get("kv_reuse_probed") or {}).get("results") or []
        for result in results:
            pair = result.get("item") or {}
            if result.get("probe") and host in (pair.get("holder"), receiver):
                role = "holder" if pair.get("holder") == host else "receiver"
                found.append({"role": role, "probe": result["probe"]})
    return found


def ids(seen: list[dict]) -> list[str]:
    """Response ids that the host's log should show."""
    return [one for entry in seen for one in assemble.wanted_ids([entry["probe"]], entry["role"])]


def host(url: str) -> str:
    """The host of an engine's URL; "" where there is none."""
    return urlsplit(url).hostname or ""


def port(url: str) -> int:
    """The port of an engine's URL."""
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)
