# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""Files of lab/faults: read, filled in with a cluster's addresses, and what they change on one node."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

FAULTS = Path(__file__).resolve().parents[1] / "faults"
Fault = dict  # as faults/schema.json describes it; {} for a healthy cluster


class FaultError(ValueError):
    """A fault that is not there or cannot be made; the message is one sentence."""


def load(name: str, folder: Path = FAULTS) -> Fault:
    """The fault as it is written; {} for an empty name.  Raises FaultError for an unknown one."""
    if not name:
        return {}
    path = folder / f"{name}.yml"
    if not path.is_file():
        known = ", ".join(sorted(other.stem for other in folder.glob("*.yml")))
        raise FaultError(f"There is no fault {name}. There are: {known}.")
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def filled_in(fault: Fault, addresses: dict[str, str], folder: Path) -> Fault:
    """The fault with its {{ names }} replaced: addresses by role, and the folder the cluster lives in."""
    names = {"folder": str(folder), **{f"address.{role}": address for role, address in addresses.items()}}
    return json.loads(re.sub(r"\{\{ ([\w.]+) \}\}", lambda match: names[match[1]], json.dumps(fault)))


def changes(fault: Fault, role: str) -> dict[str, Any]:
    """The changes to a node of this role: those for all, then its own.

    lmcache, env: values by name, None removes one.  arguments: more of the command line.  connector: more of
    --kv-transfer-config, None for no connector at all.  model_copy: whether it uses the model's second copy.
    server: options of its LMCache server by name, None removes one.
    """
    usual = {"lmcache": {}, "env": {}, "arguments": [], "connector": {}, "model_copy": False, "server": {}}
    return merged(merged(usual, fault.get("all") or {}), fault.get(role) or {})


def variables(fault: Fault, role: str) -> dict[str, Any]:
    """What the validator is told about a node of this role, or about the controller."""
    everybody = fault.get("validate") or {} if role != "controller" else {}
    return {**everybody, **((fault.get(role) or {}).get("validate") or {})}


def applied(settings: dict[str, Any], *more: dict[str, Any]) -> dict[str, Any]:
    """Settings with changes over them; those that are None are left out."""
    merged: dict[str, Any] = {}
    for part in (settings, *more):
        merged.update(part)
    return {name: value for name, value in merged.items() if value is not None}


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Both, mappings within them merged as well; what ``over`` says counts."""
    result = dict(base)
    for name, value in over.items():
        both = isinstance(value, dict) and isinstance(base.get(name), dict)
        result[name] = merged(base[name], value) if both else value
    return result
