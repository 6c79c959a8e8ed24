# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes one pair, with the module of the same name, or all pairs of a plan, without a task for each.

Of a plan as many clusters side by side as Ansible has forks, each in a process, so that no cluster's times have
another's Python in them.  What keeps a pair from being probed is its `problem`; the others are probed all the same.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from ansible import constants as C
from ansible import context
from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.parameters import remove_values

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "module_utils")]  # see plugin_utils
from kvproof.evidence.assemble import packed, requests_of
from kvproof.plan.pair import names_of
from kvproof.probe.options import (
    BESIDE,
    PLANNED,
    RECOGNISED,
    argument_spec,
    controller_options,
    engine_options,
    experiment_options,
    secrets,
    server_url,
)
from kvproof.probe.rounds import probe_rounds
from kvproof.stack import architectures, disagg

from plugin_utils import lifetime, reporter
from plugin_utils.base import Action, Refused
from plugin_utils.looks import node_seen
from plugin_utils.ssh_login import login
from plugin_utils.variables import RoleVariables


class ActionModule(Action):
    def arguments(self) -> dict[str, Any]:
        if "plan" in self._task.args:
            return self.validate_argument_spec(PLANNED)[1]
        return dict(self._task.args)  # the module checks its own

    def answer(self, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        if "plan" in args:
            looks = args["recognised"], args["reached"]
            return PlannedProbes(self, json.loads(args["plan"]), looks, task_vars).result()
        try:
            self.fill_in_logins(args, task_vars)
        except AnsibleError as exc:
            raise Refused(str(exc)) from exc
        return self._execute_module(module_args=args, task_vars=task_vars)

    def fill_in_logins(self, options: dict[str, Any], task_vars: dict[str, Any]) -> None:
        """Where a host is to be reached through SSH, says how Ansible would log in there.  Raises AnsibleError."""
        context_of_login = task_vars.get("hostvars") or {}, self._task, self._play_context.password
        for side in ("holder", "receiver"):
            if isinstance(options.get(side), dict) and options[side].get("ssh"):
                options[side] = {**options[side], "ssh": login(options[side]["ssh"], *context_of_login)}
        for way in (f"{name}_ssh" for name in BESIDE):
            if options.get(way):
                options[way] = login(options[way], *context_of_login)


class PlannedProbes:
    """The probes of all pairs of a plan (kv_reuse_plan)."""

    def __init__(
        self,
        action: ActionModule,
        plan: dict[str, Any],
        looks: tuple[str | None, str | None],
        task_vars: dict[str, Any],
    ):
        self._action, self._plan, self._task_vars = action, plan, task_vars
        self._recognised, self._reached = looks
        self._variables = RoleVariables(action, task_vars)
        self._validator = ArgumentSpecValidator(argument_spec())
        self._check_mode = action._task.check_mode

    def result(self) -> dict[str, Any]:
        lifetime.end_with(os.getppid())
        probes, requests = {}, {}
        for cluster, answers in self._in_processes():
            probes[cluster] = packed(answers)
            requests.update({host: packed(of_host) for host, of_host in requests_of(answers).items()})
            reporter.tell_probed([answer["pair"] for answer in answers])
        names = [names_of(pair) for rounds in self._plan["rounds"].values() for pairs in rounds for pair in pairs]
        return {"kv_reuse_probed_pairs": names, "probes": probes, "requests": requests}

    def _in_processes(self) -> Iterator[tuple[str, list[dict]]]:
        """(cluster, its answers), each when its last pair is probed."""
        of_clusters = self._plan["rounds"]
        forks = min(int(context.CLIARGS.get("forks") or C.DEFAULT_FORKS), len(of_clusters))
        if forks < 2:
            for cluster, rounds in of_clusters.items():
                questions, hidden = self._questions(rounds)
                answers = probe_rounds(questions, self._check_mode)
                yield cluster, remove_values(answers, hidden) if hidden else answers
            return
        hidden_of: dict[str, set] = {}
        fork = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(forks, fork, initializer=_end_with, initargs=(os.getpid(),)) as pool:
            running: dict[Future, str] = {}
            for cluster, rounds in of_clusters.items():
                questions, hidden_of[cluster] = self._questions(rounds)
                running[pool.submit(probe_rounds, questions, self._check_mode)] = cluster
            for done in as_completed(running):
                cluster = running.pop(done)  # a future holds its answers, which are large, as long as it is kept
                try:
                    answers = done.result()
                except Exception as exc:  # the process is gone
                    problem = f"the process of this cluster's probes ended with {type(exc).__name__}: {exc}"
                    pairs = [names_of(pair) for pairs in of_clusters[cluster] for pair in pairs]
                    answers = [{"pair": pair, "probe": None, "problem": problem} for pair in pairs]
                yield cluster, remove_values(answers, hidden_of[cluster]) if hidden_of[cluster] else answers

    def _questions(self, rounds: list[list[dict]]) -> tuple[list[list[dict]], set[str]]:
        """What probe_rounds() takes, and the secrets in it."""
        hidden: set[str] = set()
        questions = []
        for pairs in rounds:
            questions.append([])
            for pair in pairs:
                params, problem = self._params(pair, hidden)
                questions[-1].append({"pair": names_of(pair), "params": params, "problem": problem})
        return questions, hidden

    def _params(self, pair: dict, hidden: set[str]) -> tuple[dict | None, str | None]:
        """The parameters of the module kv_reuse_probe for a pair, or a sentence on why there are none."""
        refused = self._plan["refused"]
        wrong = [f"{pair[role]}: {refused[pair[role]]}" for role in ("holder", "receiver") if pair[role] in refused]
        if wrong:
            return None, "; ".join(wrong)
        try:
            checked = self._validator.validate(self._options(pair))
        except (AnsibleError, Refused) as exc:
            return None, str(exc)
        hidden |= secrets(checked._no_log_values)
        if checked.error_messages:
            return None, remove_values("; ".join(checked.error_messages), hidden)
        beyond = self._plan["beyond"].get(pair["cluster"], [])
        return {**checked.validated_parameters, "disagg": self._disagg(pair), "beyond": beyond}, None

    def _options(self, pair: dict) -> dict:
        of_role = {role: self._variables.of(pair[role]) for role in ("holder", "receiver")}
        options = {
            **{role: engine_options(its, pair[role], self._plan["mode"]) for role, its in of_role.items()},
            **experiment_options(of_role["receiver"]),
            **controller_options(self._hosts_of("controller", pair)),
            **controller_options(self._hosts_of("coordinator", pair), "coordinator"),
            **controller_options({pair[role]: its for role, its in reversed(of_role.items())}, "router"),
            "cluster": pair["cluster"],
            "shares": pair["shares"],
            "run_id": f"{self._plan['run_id']}p{pair['number']}",
        }
        for role, its in of_role.items():
            node = self._node(pair[role], self._recognised)
            options[role]["recognised"] = self._recognised_as(node, its)
            server = node.get("cache_server") or {}
            options[role]["mp_instances"] = architectures.mp_instances(node)
            if not its["kv_reuse_mp_url"]:
                options[role]["mp_url"] = self._mp_url(pair[role], its, server)
            if not options.get("coordinator_url"):
                options.update(self._coordinator(pair[role], its, server))
        self._action.fill_in_logins(options, self._task_vars)
        return options

    def _recognised_as(self, node: dict, options: dict) -> dict[str, str | None]:
        """What a host's engine is, as the operator says or as it was seen; all None where nothing was."""
        try:
            recognised = architectures.of_node(node)
        except (AttributeError, LookupError, TypeError, ValueError):  # an odd answer of one node
            recognised = architectures.Recognised(None, None, None, None)
        named = architectures.NAMED.get(options["kv_reuse_architecture"])
        if named:
            recognised = recognised._replace(name=named, unsure=None)
        return dict(zip(RECOGNISED, recognised))

    def _disagg(self, pair: dict) -> disagg.Known:
        """What is known of a transfer from a sender to its receiver.  No option gives it: it is seen or it is not."""
        sender, receiver = (self._node(pair[role], self._recognised) for role in ("holder", "receiver"))
        sender = {**sender, "dials": self._node(pair["holder"], self._reached).get("dials")}
        return disagg.known(sender, receiver, (pair["holder"], pair["receiver"]))

    def _node(self, host: str, look: str | None) -> dict[str, Any]:
        """NODE as far as that look read it; {} where it did not, or the node's answer is odd."""
        return node_seen(self._task_vars["hostvars"], host, look) or {}

    def _mp_url(self, host: str, options: dict, server: dict) -> str | None:
        """Where the probe reaches the cache server that was seen on a host."""
        connection = str(self._task_vars["hostvars"][host].get("ansible_connection") or "")
        here = options["kv_reuse_transport"] == "ssh" or connection.rpartition(".")[2] == "local"
        return server_url(server.get("options"), options["kv_reuse_url"], here)

    def _coordinator(self, host: str, options: dict, server: dict) -> dict[str, Any]:
        """Where its server looks for the coordinator."""
        url = (server.get("options") or {}).get("coordinator-url")
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            return {}
        ssh = {"inventory_host": host} if options["kv_reuse_transport"] == "ssh" else None
        return {"coordinator_url": url, "coordinator_ssh": ssh}

    def _hosts_of(self, role: str, pair: dict) -> dict[str, dict]:
        """Variables of the hosts that may say where the pair's controller or coordinator answers."""
        hosts = [pair["receiver"], *self._plan["others"][role].get(pair["cluster"], [])]
        return {host: self._variables.of(host) for host in hosts}


def _end_with(parent: int) -> None:
    """A process that probes ends with the task."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)  # instead of the handlers of Ansible's worker
    lifetime.end_with(parent)
