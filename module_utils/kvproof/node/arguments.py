# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Argument specs of lmcache_node_info, lmcache_controller_info, lmcache_mp_info and lmcache_log_info, the only place of
the defaults."""

from __future__ import annotations

#: A log is one of these.
_LOG = {
    "file": {"type": "str"},  # expanded on the node
    "unit": {"type": "str"},
    "command": {"type": "list", "elements": "str"},
}
_THIS_RUN = {
    "ids": {"type": "list", "elements": "str", "default": []},
    "run_marker": {"type": "str"},
    "since": {"type": "float"},
}
#: Where a log is that is read on the controller: the same, without a journal of a unit, which is on the node.
LOG_ON_CONTROLLER = {name: option for name, option in _LOG.items() if name != "unit"}
NODE = {
    "only": {"type": "list", "elements": "str", "default": []},
    "port": {"type": "int", "default": 8000},
    "host": {"type": "str"},
    "log": {"type": "dict", "options": _LOG},
    "log_seen": {"type": "dict"},
    "config_file": {"type": "str"},
    "internal_api_url": {"type": "str"},
    **_THIS_RUN,
    "peers": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "to": {"type": "str", "required": True},
            "why": {
                "type": "str",
                "choices": ["peer-init", "peer-lookup", "pd-init", "pd-alloc"],
                "default": "peer-init",
            },
        },
    },
    "controller_url": {"type": "str"},
    "mp_url": {"type": "str"},
    "mp_log": {"type": "dict", "options": _LOG},
    "api_timeout": {"type": "float", "default": 2.0},
    "dial_timeout": {"type": "float", "default": 1.0},
    "log_timeout": {"type": "float", "default": 10.0},
    "log_budget": {"type": "int", "default": 64 << 20},
    "log_head": {"type": "int", "default": 2 << 20},
    "max_events": {"type": "int", "default": 5000},
}
#: What a task takes: some of it only the action lmcache_node_info sees, which hands the module the options of NODE.
TASK = {
    **NODE,
    "log": {
        "type": "dict",
        "options": {**_LOG, "on_controller": {"type": "dict", "options": LOG_ON_CONTROLLER}},
    },
    "port": {"type": "int"},
    "parts": {
        "type": "list",
        "elements": "str",
        "choices": ["engine", "log", "controller", "coordinator", "cache_server"],
        "default": ["engine"],
    },
    "url": {"type": "str"},
    "coordinator_url": {"type": "str"},
    "requests": {"type": "dict", "options": {name: NODE[name] for name in ("ids", "since", "peers")}},
    "as_text": {"type": "bool", "default": False},
    "timeout": {"type": "float", "default": 60.0},
}
CONTROLLER = {
    "name": {"type": "str"},
    "url": {"type": "str"},
    "port": {"type": "int"},
    "host": {"type": "str"},
    "timeout": {"type": "float", "default": 2.0},
}
COORDINATOR = {
    "name": {"type": "str"},
    "url": {"type": "str"},
    "timeout": {"type": "float", "default": 2.0},
}
CACHE_SERVER = {**COORDINATOR, "log": {"type": "dict", "options": _LOG}, **_THIS_RUN}
MP = {
    "coordinator": {"type": "dict", "options": COORDINATOR},
    "cache_server": {"type": "dict", "options": CACHE_SERVER},
}
LOG = {
    "log": {"type": "dict", "required": True, "options": _LOG},
    **_THIS_RUN,
    "started_at": {"type": "float"},
    "timeout": {"type": "float", "default": 10.0},
    "budget": {"type": "int", "default": 64 << 20},
    "head": {"type": "int", "default": 2 << 20},
    "max_events": {"type": "int", "default": 5000},
}


def filled(spec: dict, given: dict) -> dict:
    """Every option of `spec`: as given, else its default, else None."""
    return {**{name: option.get("default") for name, option in spec.items()}, **given}
