# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs probes: one pair's, and those of a cluster, round after round."""

from __future__ import annotations

import os
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from ..stack import disagg
from ..transport.http import REQUESTS_IMPORT_ERROR, check_engine_url, check_url
from . import choice, options, router
from .document import empty_probe, empty_router
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
    document = _probe(params, check_mode)
    return {**document, "router": through_router([params], [document])}


def settings_of(params: dict) -> options.Settings:
    """The experiment's, as probe() takes them.  Raises ValueError with one sentence for bad input."""
    if params["router_url"]:
        check_engine_url(params["router_url"], "router_url")
    return replace(
        options.settings(params),
        disagg=params.get("disagg", disagg.NOTHING),
        routed=router.MOST_STORED if params["router_url"] else 0,
    )


def _probe(params: dict, check_mode: bool) -> dict:
    """As probe(), past the cluster's router."""
    _need_libraries(params)
    settings = settings_of(params)
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
    asked = [question["params"] for pairs in rounds for question in pairs]
    routed = through_router(asked, [answer["probe"] for answer in answers])
    for answer in answers:
        if answer["probe"]:
            answer["probe"]["router"] = routed
    return answers


def through_router(asked: list[dict | None], probes: list[dict | None]) -> dict | None:
    """ROUTER of a cluster whose pairs have been probed; None where it has no router, or nothing was to be sent.

    asked: of each pair, as probe() takes them.  "beyond" in one: names of the cluster's engines that no pair has.
    """
    first = next((params for params in asked if params and params["router_url"]), None)
    done = [probe for probe in probes if probe]
    if first is None or not done or any(probe["skipped"] for probe in done):
        return None
    url = first["router_url"]
    try:
        why = router.withheld(probes, first.get("beyond", ()))
        if why:
            return empty_router(url, why)
        engines = {
            params[role]["name"]: options.engine(role, params[role])
            for params in asked
            if params
            for role in ("holder", "receiver")
        }
        return router.RouterProbe(options.router(first), engines, done, done[0]["run_id"]).run()
    except Exception as exc:  # what was seen of the pairs is not to be lost
        return empty_router(url, _broke_off("what is sent through the router", exc))


def _answer(question: dict, check_mode: bool) -> dict:
    answer = {"pair": question["pair"], "probe": None, "problem": question["problem"]}
    if question["problem"]:
        return answer
    try:
        return {**answer, "probe": _probe(question["params"], check_mode)}
    except (ValueError, MissingLibrary) as exc:
        return {**answer, "problem": str(exc)}
    except Exception as exc:
        return {**answer, "problem": _broke_off("the probe", exc)}


def _broke_off(what: str, exc: Exception) -> str:
    where = traceback.extract_tb(exc.__traceback__)[-1]
    place = f"{os.path.basename(where.filename)}:{where.lineno}"
    return f"{what} broke off with {type(exc).__name__}: {exc} ({place})"


def _need_libraries(params: dict) -> None:
    needed = {"requests": REQUESTS_IMPORT_ERROR, "prometheus_client": PROMETHEUS_IMPORT_ERROR}
    for library, error in needed.items():
        if error:
            raise MissingLibrary(library, error)
    ways = (params["holder"]["ssh"], params["receiver"]["ssh"], *(params[f"{name}_ssh"] for name in options.BESIDE))
    if any(ways):
        from ..transport.ssh_login import (
            PARAMIKO_IMPORT_ERROR,  # not before it is needed: paramiko takes its time to load
        )

        if PARAMIKO_IMPORT_ERROR:
            raise MissingLibrary("paramiko", PARAMIKO_IMPORT_ERROR, "for kv_reuse_transport: ssh")
