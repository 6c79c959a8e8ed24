# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a probe: types and defaults, checks of their values, and how the role's variables give them."""

from __future__ import annotations

import os
import re
from dataclasses import Field, dataclass, field, fields
from secrets import token_hex
from typing import Any
from urllib.parse import urlsplit

from ..stack import mp
from ..stack.disagg import NOTHING, Known
from ..stack.settings import LOOPBACK, WILDCARDS
from ..transport.http import check_url
from ..transport.ssh_route import SshSettings, words
from .engine import EngineSettings

SHORTEST_SECRET = 4
_OF_AN_ENGINE = (
    "url metrics_url model api_key ca_cert verify_tls headers proxy internal_api_url mp_url tokenizer".split()
)
#: What a cluster has beside its engines that the probe asks, each with options NAME_url and NAME_ssh.
BESIDE = ("controller", "coordinator", "router")
#: What is known of an engine before anything is sent to it (stack.architectures.Recognised).
RECOGNISED = ("architecture", "kv_role", "connector", "unsure")


def _option(
    kind: str, default: Any = None, name: str | None = None, least: int | None = None, role: bool = True, **spec
):
    """A field of Settings that the module kv_reuse_probe takes as an option, of a type of Ansible's argument specs.

    name: the option's, where the field's has its unit.  least: the lowest value.  role: the role has a variable of it.
    """
    spec = {"type": kind, **spec, **({} if default is None else {"default": default})}
    given = {"default_factory": tuple} if default == [] else {"default": default}
    return field(**given, metadata={"spec": spec, "name": name, "least": least, "role": role})  # pylint: disable=invalid-field-call


@dataclass(frozen=True)
class Settings:
    """What to do; times in seconds.  ``chunk_size`` None: as the internal API says, else LMCache's default."""

    run_id: str
    trials: int = _option("int", 3, least=1)
    extra_attempts: int = _option("int", 2, least=0)
    chunks: int = _option("int", 0, least=0)  # 0: as many as usual, fewer where fewer fit
    chunk_size: int | None = _option("int", least=1)
    wait_s: float = _option("float", 5.0, name="wait")
    deadline_s: float = _option("float", 120.0, name="deadline")
    max_tokens: int = _option("int", 32, least=1, no_log=False)  # they are counted, and no secret
    max_probe_mb: int = _option("int", 4096, least=1)
    shares: int = _option("int", 1, least=1, role=False)  # pairs of the run that share an engine
    lengths: tuple[int, ...] = _option("list", [], elements="int")
    wait_for_flush: bool = _option("bool", False)
    source: str = _option("str", "p2p", choices=["p2p", "any"])
    controller_ssh: Any = None  # ssh_route.SshSettings: reach the controller through this host
    coordinator_url: str | None = None  # the multiprocess mode's
    coordinator_ssh: Any = None
    disagg: Known = NOTHING
    routed: int = 0  # prompts that the cluster's router will be sent besides


#: The options of the experiment: name → field of Settings.
EXPERIMENT: dict[str, Field] = {f.metadata["name"] or f.name: f for f in fields(Settings) if f.metadata}


def _ssh_options() -> dict:
    return {
        "inventory_host": {"type": "str"},  # the action plugins have put the others in its place
        "host": {"type": "str"},
        "args": {"type": "str", "default": ""},
        "password": {"type": "str", "no_log": True},
    }


def _engine_options() -> dict:
    return {
        "name": {"type": "str", "required": True},
        "url": {"type": "str", "required": True},
        "metrics_url": {"type": "str"},
        "model": {"type": "str"},
        "api_key": {"type": "str", "no_log": True},
        "ca_cert": {"type": "path"},
        "verify_tls": {"type": "bool", "default": True},
        "headers": {"type": "dict", "default": {}, "no_log": True},
        "proxy": {"type": "str"},
        "internal_api_url": {"type": "str"},
        "mp_url": {"type": "str"},
        "mp_instances": {"type": "list", "elements": "str", "default": []},
        "log_file": {"type": "path"},
        "tokenizer": {"type": "path", "no_log": False},
        "recognised": {"type": "dict", "options": {name: {"type": "str"} for name in RECOGNISED}},
        "ssh": {"type": "dict", "options": _ssh_options()},
    }


def argument_spec() -> dict:
    """Ansible's argument spec of the options, which the module kv_reuse_probe documents."""
    return {
        "holder": {"type": "dict", "required": True, "options": _engine_options()},
        "receiver": {"type": "dict", "required": True, "options": _engine_options()},
        **{f"{name}_url": {"type": "str"} for name in BESIDE},
        **{f"{name}_ssh": {"type": "dict", "options": _ssh_options()} for name in BESIDE},
        "cluster": {"type": "str"},
        "run_id": {"type": "str"},
        **{name: option.metadata["spec"] for name, option in EXPERIMENT.items()},
    }


#: ``recognised``, ``reached``: the variables that the hosts' lmcache_node_info was registered as, when it looked before
#: the probe, and when it tried what the first look had found.
PLANNED: dict[str, dict] = {
    "plan": {"type": "json", "required": True},
    "recognised": {"type": "str"},
    "reached": {"type": "str"},
}


def task_spec() -> dict:
    """What a task takes: a plan, which the action of the module's name carries out, or the module's options."""
    spec = {**PLANNED, **argument_spec()}
    return {**spec, **{name: {**spec[name], "required": False} for name in ("plan", "holder", "receiver")}}


def engine_options(options: dict, name: str, mode: str) -> dict:
    """An engine's options from the role's variables of its host (roles/kv_reuse/meta/argument_specs.yml)."""
    values = {
        "name": name,
        "log_file": options["kv_reuse_log"].get("file") if mode == "seed" else None,
        "ssh": {"inventory_host": name} if options["kv_reuse_transport"] == "ssh" else None,
        **{option: options[f"kv_reuse_{option}"] for option in _OF_AN_ENGINE},
    }
    return {option: value for option, value in values.items() if value not in (None, "")}


def experiment_options(options: dict) -> dict:
    """Those of the experiment, from the role's variables of the receiver's host."""
    given = {name: options[f"kv_reuse_{name}"] for name, option in EXPERIMENT.items() if option.metadata["role"]}
    return {**given, "chunk_size": given["chunk_size"] or None}


def controller_options(hosts: dict[str, dict], what: str = "controller") -> dict:
    """Where one of BESIDE answers: by the first host whose variables have its URL, with SSH through that same host."""
    for name, options in hosts.items():
        if options.get(f"kv_reuse_{what}_url"):
            ssh = {"inventory_host": name} if options["kv_reuse_transport"] == "ssh" else None
            return {f"{what}_url": options[f"kv_reuse_{what}_url"], f"{what}_ssh": ssh}
    return {}


def server_url(started_as: dict | None, engine_url: str, is_here: bool) -> str | None:
    """Where the probe reaches a cache server of these options (SERVER.options); None where it cannot.

    A wildcard is the engine's host.  is_here: loopback addresses of the host are the probe's own, or lead to it.
    """
    if started_as is None:
        return None
    engine_host = urlsplit(engine_url).hostname or ""
    host = started_as.get("http-host") or mp.SERVER_HTTP_HOST
    host = engine_host if host in WILDCARDS else str(host)
    if host in LOOPBACK and not is_here and engine_host not in LOOPBACK:
        return None
    return f"http://{f'[{host}]' if ':' in host else host}:{started_as.get('http-port') or mp.SERVER_HTTP_PORT}"


def secrets(no_log_values: set[str]) -> set[str]:
    """Those that are to be hidden: a header such as "X-Shard: 1" is no secret, and hiding every 1 would destroy
    the evidence."""
    return {value for value in no_log_values if len(value) >= SHORTEST_SECRET}


def settings(params: dict) -> Settings:
    """Raises ValueError with one clear sentence."""
    for name, option in EXPERIMENT.items():
        lowest = option.metadata["least"]
        if None not in (lowest, params[name]) and params[name] < lowest:
            raise ValueError(f"{name} is {params[name]}: give {lowest} or more")
    if any(length < 1 for length in params["lengths"]):
        raise ValueError(f"lengths has {min(params['lengths'])}: give numbers of tokens, 1 or more")
    if not 0 <= params["wait"] < float("inf"):
        raise ValueError(f"wait is {params['wait']}: give a number of seconds, 0 or more")
    if not 0 < params["deadline"] < float("inf"):
        raise ValueError(f"deadline is {params['deadline']}: give a number of seconds above 0")
    run_id = params["run_id"] or new_run_id()
    if not re.fullmatch(r"[A-Za-z0-9]{4,40}", run_id):
        raise ValueError(f"run_id is {run_id[:60]!r}: give 4 to 40 letters and digits, or leave it out")
    given = {option.name: params[name] for name, option in EXPERIMENT.items()}
    given["lengths"] = tuple(sorted(set(given["lengths"])))
    for name in ("controller_ssh", "coordinator_ssh"):
        given[name] = _ssh(name, params[name])
    url = params["coordinator_url"]
    return Settings(run_id, **given, coordinator_url=check_url(url, "coordinator_url") if url else None)


def _ssh(what: str, given: dict | None) -> SshSettings | None:
    """How to log in somewhere, None where that is not wanted.  Raises ValueError with one clear sentence."""
    if given is None:
        return None
    if not given["host"]:
        raise ValueError(f"{what}.host is empty: give the name or address of an SSH server, or leave {what} out")
    return SshSettings(given["host"], tuple(words(given["args"], f"{what}.args")), given["password"])


def engine(role: str, given: dict) -> EngineSettings:
    """One side of the pair.  Raises ValueError with one clear sentence."""
    if given["ca_cert"] and not os.path.isfile(given["ca_cert"]):
        raise ValueError(f"{role}.ca_cert {given['ca_cert']} is no file on this machine: give the CA's PEM file")
    headers = {str(name): str(value) for name, value in given["headers"].items()}
    for name, value in [*headers.items(), ("Authorization", given["api_key"] or "")]:
        if re.search(r"[^\x20-\x7e]", name + value):
            raise ValueError(
                f"{role} has a header or key ({name!r}) with line breaks or other characters that "
                "HTTP does not allow: correct it"
            )
    return EngineSettings(role, **{**given, "headers": headers, "ssh": _ssh(f"{role}.ssh", given["ssh"])})


def router(params: dict) -> EngineSettings:
    """The cluster's way in, which is asked as its receiver is: with its key, header fields and certificates.

    Raises ValueError with one clear sentence.
    """
    asked = engine("receiver", params["receiver"])
    way = _ssh("router_ssh", params["router_ssh"])
    return EngineSettings(
        "router",
        "router",
        params["router_url"],
        api_key=asked.api_key,
        ca_cert=asked.ca_cert,
        verify_tls=asked.verify_tls,
        headers=asked.headers,
        proxy=asked.proxy,
        ssh=way,
    )


def new_run_id() -> str:
    """A short random id, part of every request id of a run."""
    return "k" + token_hex(4)
