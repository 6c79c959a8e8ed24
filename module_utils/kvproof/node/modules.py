# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules lmcache_node_info, lmcache_controller_info and lmcache_log_info answer to their parameters.

On a node it runs in a module of Ansible, or in the program of nodeprogram.  Standard library only, Python 3.8+.
"""

from __future__ import annotations

import os

from . import controller as controllerinfo
from . import engine as nodeinfo
from . import log as logs
from . import sockets

_LOG = {
    "file": {"type": "path"},
    "unit": {"type": "str"},
    "command": {"type": "list", "elements": "str"},
}
_THIS_RUN = {
    "ids": {"type": "list", "elements": "str", "default": []},
    "run_marker": {"type": "str"},
    "since": {"type": "float"},
}
NODE = {
    "port": {"type": "int", "default": 8000},
    "host": {"type": "str"},
    "log": {"type": "dict", "options": _LOG},
    "config_file": {"type": "path"},
    "internal_api_url": {"type": "str"},
    **_THIS_RUN,
    "peers": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "to": {"type": "str", "required": True},
            "why": {"type": "str", "choices": ["peer-init", "peer-lookup"], "default": "peer-init"},
        },
    },
    "controller_url": {"type": "str"},
    "api_timeout": {"type": "float", "default": 2.0},
    "dial_timeout": {"type": "float", "default": 1.0},
    "log_timeout": {"type": "float", "default": 10.0},
    "log_budget": {"type": "int", "default": 64 << 20},
    "log_head": {"type": "int", "default": 2 << 20},
    "max_events": {"type": "int", "default": 5000},
}
CONTROLLER = {
    "name": {"type": "str"},
    "url": {"type": "str"},
    "port": {"type": "int"},
    "host": {"type": "str"},
    "timeout": {"type": "float", "default": 2.0},
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


class Refused(ValueError):
    """A parameter that cannot be used; one sentence."""


def node(params):
    """{"node": NODE}; raises Refused."""
    if not 0 < params["port"] < 65536:
        raise Refused("port: give the engine's port, a number from 1 to 65535, not {}".format(params["port"]))
    for peer in params["peers"]:
        if sockets.split(peer["to"])[0] is None:
            raise Refused("peers: give host:port, for example 10.0.0.13:8200, not {}".format(peer["to"]))
    _above_zero(params, "api_timeout", "dial_timeout", "log_timeout", "log_budget", "log_head", "max_events")
    config_file = _path(params["config_file"])
    return {"node": nodeinfo.gather(**dict(params, log=_source(params["log"]), config_file=config_file))}


def controller(params):
    """{"controller": CONTROLLER}; raises Refused."""
    url = params["url"]
    if url and (not url.startswith(("http://", "https://")) or sockets.split(url, 80)[0] is None):
        raise Refused(f"url: give the controller's URL, for example http://10.0.0.5:9000, not {url}")
    _above_zero(params, "timeout")
    return {"controller": controllerinfo.gather(**params)}


def log(params):
    """{"log": NODE.log}; raises Refused."""
    source = _source(params["log"])
    _above_zero(params, "timeout", "budget", "head", "max_events")
    want = logs.Want(
        params["ids"],
        params["run_marker"],
        params["since"],
        started_at=params["started_at"],
        head_bytes=params["head"],
        budget=params["budget"],
        max_events=params["max_events"],
        timeout=params["timeout"],
    )
    return {"log": logs.read(source, want)}


#: Module → its argument spec, and what answers.
MODULES = {
    "lmcache_node_info": (NODE, node),
    "lmcache_controller_info": (CONTROLLER, controller),
    "lmcache_log_info": (LOG, log),
}


def answer_all(asked):
    """{"said": what the modules of `asked` return together, "problems": [sentence]}.

    asked: module → those of its parameters that differ from the defaults, of the types that its spec has.
    """
    said, problems = {}, []
    for module, given in asked.items():
        spec, answer = MODULES[module]
        try:
            said.update(answer({**{name: one.get("default") for name, one in spec.items()}, **given}))
        except Refused as problem:
            problems.append(str(problem))
    return {"said": said, "problems": problems}


def _above_zero(params, *names):
    for name in names:
        if params[name] <= 0:
            raise Refused(f"{name}: give a number above zero, not {params[name]}")


def _source(given):
    problem = logs.bad_source(given)
    if problem:
        raise Refused(problem)
    return dict(given, file=_path(given["file"])) if given and given.get("file") else given


def _path(text):
    return os.path.expanduser(os.path.expandvars(text)) if text else text
