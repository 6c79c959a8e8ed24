# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules lmcache_node_info, lmcache_controller_info, lmcache_mp_info and lmcache_log_info answer to their
parameters.

On a node it runs in a module of Ansible, or in the program that is piped into its Python.
"""

from __future__ import annotations

import os

from . import controller as controllers
from . import engine as engines
from . import log as logs
from . import multiprocess, sockets
from .arguments import CACHE_SERVER, CONTROLLER, COORDINATOR, LOG, MP, NODE, filled
from .readers import READERS


class BadParameter(ValueError):
    """A parameter that cannot be used; one sentence."""


def node(params: dict) -> dict:
    """{"node": NODE}; raises BadParameter."""
    if not 0 < params["port"] < 65536:
        raise BadParameter("port: give the engine's port, a number from 1 to 65535, not {}".format(params["port"]))
    unknown = sorted(set(params["only"]) - set(READERS))
    if unknown:
        raise BadParameter("only: there is no part {}; parts are {}".format(unknown[0], ", ".join(READERS)))
    for peer in params["peers"]:
        if sockets.split(peer["to"])[0] is None:
            raise BadParameter("peers: give host:port, for example 10.0.0.13:8200, not {}".format(peer["to"]))
    _above_zero(params, "api_timeout", "dial_timeout", "log_timeout", "log_budget", "log_head", "max_events")
    _url_of("mp_url", params["mp_url"], "http://127.0.0.1:8080")
    if params["log_seen"] and not {"head", "events", "bytes_read"} <= set(params["log_seen"]):
        raise BadParameter("log_seen: give what lmcache_log_info returned, or leave it out")
    config_file = _path(params["config_file"])
    sources = {"log": _source(params["log"]), "mp_log": _source(params["mp_log"])}
    return {"node": engines.gather(**dict(params, config_file=config_file, **sources))}


def of_node(params: dict) -> dict:
    """What node() takes, of the values of TASK."""
    return filled(NODE, {name: params[name] for name in NODE if params[name] is not None})


def controller(params: dict) -> dict:
    """{"controller": CONTROLLER}; raises BadParameter."""
    _url_of("url", params["url"], "http://10.0.0.5:9000")
    _above_zero(params, "timeout")
    return {"controller": controllers.gather(**params)}


def mp(params: dict) -> dict:
    """{"coordinator": COORDINATOR, "cache_server": SERVER}, of those that are asked for; raises BadParameter."""
    asked: dict = {name: filled(spec, params[name]) for name, spec in _OF_MP.items() if params.get(name) is not None}
    for name, given in asked.items():
        _url_of(f"{name}.url", given["url"], "http://10.0.0.5:9300")
        _above_zero(given, "timeout")
    if "cache_server" in asked:
        asked["cache_server"]["log"] = _source(asked["cache_server"]["log"])
    return {name: getattr(multiprocess, name)(**given) for name, given in asked.items()}


_OF_MP: dict = {"coordinator": COORDINATOR, "cache_server": CACHE_SERVER}


def log(params: dict) -> dict:
    """{"log": NODE.log}; raises BadParameter."""
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
MODULES: dict = {
    "lmcache_node_info": (NODE, node),
    "lmcache_controller_info": (CONTROLLER, controller),
    "lmcache_mp_info": (MP, mp),
    "lmcache_log_info": (LOG, log),
}


def answer_all(requests: dict[str, dict]) -> dict:
    """{"said": what the modules of `requests` return together, "problems": [sentence]}.

    requests: module → those of its parameters that differ from the defaults, of the types that its spec has.
    """
    answers, problems = {}, []
    for module, given in requests.items():
        spec, answer = MODULES[module]
        try:
            answers.update(answer(filled(spec, given)))
        except BadParameter as problem:
            problems.append(str(problem))
    return {"said": answers, "problems": problems}


def _url_of(name, url, example):
    if url and (not url.startswith(("http://", "https://")) or sockets.split(url, 80)[0] is None):
        raise BadParameter(f"{name}: give a URL, for example {example}, not {url}")


def _above_zero(params, *names):
    for name in names:
        if params[name] <= 0:
            raise BadParameter(f"{name}: give a number above zero, not {params[name]}")


def _source(given):
    problem = logs.bad_source(given)
    if problem:
        raise BadParameter(problem)
    return dict(given, file=_path(given["file"])) if given and given.get("file") else given


def _path(text):
    return os.path.expanduser(os.path.expandvars(text)) if text else text
