# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One pair's experiment from plain options: their types, what is wrong with them, and the run itself."""

from __future__ import annotations

import os
import re
import traceback
from concurrent.futures import ThreadPoolExecutor

from ..transport import http as httpclient
from ..transport.ssh_route import RouteError, SshSettings, words
from . import inprocess_p2p as experiment
from . import metrics
from .engine import EngineSettings

SHORTEST_SECRET = 4
LEAST = {
    "trials": 1,
    "extra_attempts": 0,
    "chunks": 1,
    "chunk_size": 1,
    "max_tokens": 1,
    "max_probe_mb": 1,
    "shares": 1,
}
_OF_AN_ENGINE = ("url", "metrics_url", "model", "api_key", "ca_cert", "verify_tls", "headers", "proxy",
                 "internal_api_url", "tokenizer")  # fmt: skip
_OF_AN_EXPERIMENT = ("trials", "extra_attempts", "chunks", "wait", "deadline", "max_tokens", "max_probe_mb", "lengths",
                     "wait_for_flush")  # fmt: skip


class MissingLibrary(Exception):
    """A Python library that this experiment needs; ``error`` is the ImportError, ``reason`` what it is needed for."""

    def __init__(self, library: str, error: object, reason: str | None = None):
        super().__init__(f"the Python library {library} is missing{f' {reason}' if reason else ''}: {error}")
        self.library, self.error, self.reason = library, error, reason


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
        "log_file": {"type": "path"},
        "tokenizer": {"type": "path", "no_log": False},
        "ssh": {"type": "dict", "options": _ssh_options()},
    }


def argument_spec() -> dict:
    """Ansible's argument spec of the options, which the module kv_reuse_probe documents."""
    return {
        "holder": {"type": "dict", "required": True, "options": _engine_options()},
        "receiver": {"type": "dict", "required": True, "options": _engine_options()},
        "controller_url": {"type": "str"},
        "controller_ssh": {"type": "dict", "options": _ssh_options()},
        "cluster": {"type": "str"},
        "run_id": {"type": "str"},
        "trials": {"type": "int", "default": 3},
        "extra_attempts": {"type": "int", "default": 2},
        "chunks": {"type": "int", "default": 4},
        "chunk_size": {"type": "int"},
        "wait": {"type": "float", "default": 5.0},
        "deadline": {"type": "float", "default": 120.0},
        "max_tokens": {"type": "int", "default": 32},
        "max_probe_mb": {"type": "int", "default": 4096},
        "shares": {"type": "int", "default": 1},
        "lengths": {"type": "list", "elements": "int", "default": []},
        "wait_for_flush": {"type": "bool", "default": False},
    }


def engine_options(options: dict, name: str, mode: str) -> dict:
    """An engine's options from the role's variables of its host (roles/kv_reuse/meta/argument_specs.yml)."""
    found = {
        "name": name,
        "log_file": options["kv_reuse_log"].get("file") if mode == "seed" else None,
        "ssh": {"inventory_host": name} if options["kv_reuse_transport"] == "ssh" else None,
        **{option: options[f"kv_reuse_{option}"] for option in _OF_AN_ENGINE},
    }
    return {option: value for option, value in found.items() if value not in (None, "")}


def experiment_options(options: dict) -> dict:
    """Those of the experiment, from the role's variables of the receiver's host."""
    return {**{option: options[f"kv_reuse_{option}"] for option in _OF_AN_EXPERIMENT},
            "chunk_size": options["kv_reuse_chunk_size"] or None}  # fmt: skip


def controller_options(hosts: dict[str, dict]) -> dict:
    """Where the controller answers, from the role's variables of the first host that says, which leads there, too."""
    for name, options in hosts.items():
        if options.get("kv_reuse_controller_url"):
            ssh = {"inventory_host": name} if options["kv_reuse_transport"] == "ssh" else None
            return {"controller_url": options["kv_reuse_controller_url"], "controller_ssh": ssh}
    return {}


def secrets(no_log_values: set[str]) -> set[str]:
    """Those that are to be hidden: a header such as "X-Shard: 1" is no secret, and hiding every 1 would destroy
    the evidence."""
    return {value for value in no_log_values if len(value) >= SHORTEST_SECRET}


def probe(params: dict, check_mode: bool = False) -> dict:
    """The ``probe`` of a pair (docs/evidence.md); nothing is sent in check mode.

    params: values of argument_spec().  Raises ValueError with one sentence for bad input, and MissingLibrary.
    """
    _need_libraries(params)
    settings = _settings(params)
    holder, receiver = _engine("holder", params["holder"]), _engine("receiver", params["receiver"])
    url = params["controller_url"]
    controller_url = httpclient.check_url(url, "controller_url") if url else None
    if check_mode:
        found = experiment.empty_probe(settings, holder, receiver, skipped="check mode")
    else:
        try:
            found = experiment.Experiment(settings, holder, receiver, controller_url).run()
        except ImportError as exc:
            raise MissingLibrary(
                "transformers", exc, "for the tokenizer that was given; the engine has no /tokenize"
            ) from exc
        except experiment.TokenizerError as exc:
            raise ValueError(str(exc)) from exc
    return {**found, "cluster": params["cluster"]}


def probe_rounds(rounds: list[list[dict]], check_mode: bool = False) -> list[dict]:
    """{"pair", "probe", "problem"} of every pair of one cluster, round after round, the pairs of a round side by side.

    Of each pair: "pair", its names; "params" as probe() takes them; "problem", why it has none.  Raises nothing that
    concerns one pair alone.
    """
    answers = []
    for one in rounds:
        with ThreadPoolExecutor(max_workers=len(one)) as pool:
            answers += pool.map(lambda asked: _answer(asked, check_mode), one)
    return answers


def _answer(asked: dict, check_mode: bool) -> dict:
    answer = {"pair": asked["pair"], "probe": None, "problem": asked["problem"]}
    if asked["problem"]:
        return answer
    try:
        return {**answer, "probe": probe(asked["params"], check_mode)}
    except (ValueError, MissingLibrary) as exc:
        return {**answer, "problem": str(exc)}
    except Exception as exc:
        where = traceback.extract_tb(exc.__traceback__)[-1]
        place = f"{os.path.basename(where.filename)}:{where.lineno}"
        return {**answer, "problem": f"the probe broke off with {type(exc).__name__}: {exc} ({place})"}


def _need_libraries(params: dict) -> None:
    needed = {"requests": httpclient.REQUESTS_IMPORT_ERROR, "prometheus_client": metrics.PROMETHEUS_IMPORT_ERROR}
    for library, error in needed.items():
        if error:
            raise MissingLibrary(library, error)
    if params["holder"]["ssh"] or params["receiver"]["ssh"] or params["controller_ssh"]:
        from ..transport import ssh_login as sshlogin  # not before it is needed: paramiko takes its time to load

        if sshlogin.PARAMIKO_IMPORT_ERROR:
            raise MissingLibrary("paramiko", sshlogin.PARAMIKO_IMPORT_ERROR, "for kv_reuse_transport: ssh")


def _settings(params: dict) -> experiment.Settings:
    """Raises ValueError with one clear sentence."""
    for name, lowest in LEAST.items():
        if params[name] is not None and params[name] < lowest:
            raise ValueError(f"{name} is {params[name]}: give {lowest} or more")
    if any(length < 1 for length in params["lengths"]):
        raise ValueError(f"lengths has {min(params['lengths'])}: give numbers of tokens, 1 or more")
    if not 0 <= params["wait"] < float("inf"):
        raise ValueError(f"wait is {params['wait']}: give a number of seconds, 0 or more")
    if not 0 < params["deadline"] < float("inf"):
        raise ValueError(f"deadline is {params['deadline']}: give a number of seconds above 0")
    run_id = params["run_id"] or experiment.new_run_id()
    if not re.fullmatch(r"[A-Za-z0-9]{4,40}", run_id):
        raise ValueError(f"run_id is {run_id[:60]!r}: give 4 to 40 letters and digits, or leave it out")
    return experiment.Settings(
        run_id=run_id,
        trials=params["trials"],
        extra_attempts=params["extra_attempts"],
        chunks=params["chunks"],
        chunk_size=params["chunk_size"],
        wait_s=params["wait"],
        deadline_s=params["deadline"],
        max_tokens=params["max_tokens"],
        max_probe_mb=params["max_probe_mb"],
        shares=params["shares"],
        lengths=tuple(sorted(set(params["lengths"]))),
        wait_for_flush=params["wait_for_flush"],
        controller_ssh=_ssh("controller_ssh", params["controller_ssh"]),
    )


def _ssh(what: str, given: dict | None) -> SshSettings | None:
    """How to log in somewhere, None where that is not wanted.  Raises ValueError with one clear sentence."""
    if given is None:
        return None
    if not given["host"]:
        raise ValueError(f"{what}.host is empty: give the name or address of an SSH server, or leave {what} out")
    try:
        return SshSettings(given["host"], tuple(words(given["args"], f"{what}.args")), given["password"])
    except RouteError as exc:
        raise ValueError(str(exc)) from None


def _engine(role: str, given: dict) -> EngineSettings:
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
