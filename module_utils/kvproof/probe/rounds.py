# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs probes: one pair's, and those of a cluster, round after round."""

from __future__ import annotations

import os
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from ..stack import disagg
from ..transport.http import REQUESTS_IMPORT_ERROR, check_url
from . import choice, options
from .document import empty_probe
from .metrics import PROMETHEUS_IMPORT_ERROR


class MissingLibrary(Exception):
    """A Python library that this experiment needs; ``error`` is the ImportError, ``reason`` what it is needed for."""

    def __init__(self, library: str, error: object, reason: str | None = None):
        super().__init__(f"the Python library {library} is missing{f' {reason}' if reason else ''}: {error}")
        self.library, self.error, self.reason = library, error, reason


def probe(params: dict, check_mode: bool = False) -> dict:
    """The ``probe`` of a pair (docs/evidence.md); nothing is sent in check mode.

    params: values of options.argument_spec(), and "disagg", a disagg.Known, where nodes were looked at.
    Raises ValueError with one sentence for bad input, and MissingLibrary.
    """
    _need_libraries(params)
    settings = replace(options.settings(params), disagg=params.get("disagg", disagg.NOTHING))
    holder, receiver = (options.engine(role, params[role]) for role in ("holder", "receiver"))
    url = params["controller_url"]
    controller_url = check_url(url, "controller_url") if url else None
    if check_mode:
        document = empty_probe(settings, holder, receiver, skipped="check mode")
    else:
        try:
            document = choice.run(settings, holder, receiver, controller_url)
        except ImportError as exc:
            raise MissingLibrary(
                "transformers", exc, "for the tokenizer that was given; the engine has no /tokenize"
            ) from exc
    return {**document, "cluster": params["cluster"]}


def probe_rounds(rounds: list[list[dict]], check_mode: bool = False) -> list[dict]:
    """{"pair", "probe", "problem"} of every pair of one cluster, round after round, the pairs of a round side by side.

    Of each pair: "pair", its names; "params" as probe() takes them; "problem", why it has none.  Raises nothing that
    concerns one pair alone.
    """
    answers: list[dict] = []
    for pairs in rounds:
        with ThreadPoolExecutor(max_workers=len(pairs)) as pool:
            answers += pool.map(lambda question: _answer(question, check_mode), pairs)
    return answers


def _answer(question: dict, check_mode: bool) -> dict:
    answer = {"pair": question["pair"], "probe": None, "problem": question["problem"]}
    if question["problem"]:
        return answer
    try:
        return {**answer, "probe": probe(question["params"], check_mode)}
    except (ValueError, MissingLibrary) as exc:
        return {**answer, "problem": str(exc)}
    except Exception as exc:
        where = traceback.extract_tb(exc.__traceback__)[-1]
        place = f"{os.path.basename(where.filename)}:{where.lineno}"
        return {**answer, "problem": f"the probe broke off with {type(exc).__name__}: {exc} ({place})"}


def _need_libraries(params: dict) -> None:
    needed = {"requests": REQUESTS_IMPORT_ERROR, "prometheus_client": PROMETHEUS_IMPORT_ERROR}
    for library, error in needed.items():
        if error:
            raise MissingLibrary(library, error)
    if params["holder"]["ssh"] or params["receiver"]["ssh"] or params["controller_ssh"] or params["coordinator_ssh"]:
        from ..transport.ssh_login import (
            PARAMIKO_IMPORT_ERROR,  # not before it is needed: paramiko takes its time to load
        )

        if PARAMIKO_IMPORT_ERROR:
            raise MissingLibrary("paramiko", PARAMIKO_IMPORT_ERROR, "for kv_reuse_transport: ssh")
