# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recognises the command lines of a vLLM engine and of an LMCache controller.  Pure, standard library only."""

from __future__ import annotations

import json
import os
import re
from collections import namedtuple

from . import settings

#: What a process' command line says: its listed options, and the port and host it would listen on.  The
#: port is None where a configuration file may give it.
Command = namedtuple("Command", "options port host")

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


def engine(words):
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
    options = settings.options(rest, settings.VLLM_OPTIONS, settings.VLLM_SHORT_OPTIONS)
    if rest and not rest[0].startswith("-"):
        options.setdefault("model", settings.plain(rest[0]))
    return _command(options, ENGINE_PORT)


def controller(words):
    """A Command for LMCache's controller (`lmcache_controller`, `-m lmcache.v1.api_server`)."""
    rest = _after(
        words,
        ("lmcache_controller",),
        ("lmcache.v1.api_server", "lmcache.v1.api_server.__main__", "lmcache.experimental.api_server"),
    )
    if rest is None:
        return None
    return _command(settings.options(rest, settings.CONTROLLER_OPTIONS), CONTROLLER_PORT)


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


def controller_options(options):
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
