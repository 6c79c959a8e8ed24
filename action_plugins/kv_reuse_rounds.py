# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes the pairs of all clusters: what the module kv_reuse_probe does for each, without a task for each.

As many clusters side by side as Ansible has forks, each in a process, so that no cluster's times have another's Python
in them.  What keeps a pair from being probed is told of that pair; the others are probed all the same.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path

from ansible import constants as C
from ansible import context
from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.parameters import remove_values
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

try:
    from ..module_utils.kvproof.evidence import assemble
    from ..module_utils.kvproof.plan.pair import names_of
    from ..module_utils.kvproof.probe import rounds as probing
    from ..plugin_utils.ssh_login import login
except ImportError:  # in place the tree is no package: the core lies beside this folder
    ROOT = Path(__file__).resolve().parent.parent
    sys.path[:0] = [str(ROOT), str(ROOT / "module_utils")]
    from kvproof.evidence import assemble
    from kvproof.plan.pair import names_of
    from kvproof.probe import rounds as probing

    from plugin_utils.ssh_login import login


class ActionModule(ActionBase):
    """Runs once, on the controller.

    Returns ``kv_reuse_probed_pairs``, their names, and ``answers``, cluster → JSON (see assemble): {"pair", "probe",
    "problem"} of each of its pairs; one of the latter two is null.
    """

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset(())

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        gc.freeze()  # a collection would write to, and so copy, every page that is shared with Ansible's own process
        self._validator = ArgumentSpecValidator(probing.argument_spec())
        rounds, answers = task_vars["kv_reuse_gate"]["kv_reuse_rounds"], {}
        for cluster, told in self._in_processes(rounds, task_vars):
            answers[cluster] = assemble.packed(told)
            self._tell_progress(told)
        names = [names_of(pair) for cluster in rounds for one in rounds[cluster] for pair in one]
        return dict(result, changed=False, kv_reuse_probed_pairs=names, answers=answers)

    def _in_processes(self, rounds: dict[str, list[list[dict]]], task_vars: dict):
        """(cluster, its answers), each when its last pair is probed."""
        forks = min(int(context.CLIARGS.get("forks") or C.DEFAULT_FORKS), len(rounds))
        if forks < 2:
            for cluster, pairs in rounds.items():
                questions, hidden = self._questions(pairs, task_vars)
                told = probing.probe_rounds(questions, self._task.check_mode)
                yield cluster, remove_values(told, hidden) if hidden else told
            return
        hidden_of: dict[str, set] = {}
        fork = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(forks, fork, initializer=_end_with, initargs=(os.getpid(),)) as pool:
            asked: dict[Future, str] = {}
            for cluster, pairs in rounds.items():
                questions, hidden_of[cluster] = self._questions(pairs, task_vars)
                asked[pool.submit(probing.probe_rounds, questions, self._task.check_mode)] = cluster
            for done in as_completed(asked):
                cluster = asked.pop(done)  # with its answer, of which there are many
                try:
                    told = done.result()
                except Exception as exc:  # the process is gone
                    problem = f"the process of this cluster's probes ended with {type(exc).__name__}: {exc}"
                    pairs = [names_of(pair) for one in rounds[cluster] for pair in one]
                    told = [{"pair": pair, "probe": None, "problem": problem} for pair in pairs]
                yield cluster, remove_values(told, hidden_of[cluster]) if hidden_of[cluster] else told

    def _questions(self, rounds: list[list[dict]], task_vars: dict) -> tuple[list[list[dict]], set[str]]:
        """What probing.probe_rounds() takes, and the secrets in it."""
        hidden: set[str] = set()
        questions = []
        for one in rounds:
            questions.append([])
            for pair in one:
                params, problem = self._params(pair, task_vars, hidden)
                questions[-1].append({"pair": names_of(pair), "params": params, "problem": problem})
        return questions, hidden

    def _params(self, pair: dict, task_vars: dict, hidden: set[str]) -> tuple[dict | None, str | None]:
        """The parameters of the module kv_reuse_probe for a pair, or a sentence on why there are none."""
        refused = assemble.refused(task_vars)
        wrong = [f"{pair[role]}: {refused[pair[role]]}" for role in ("holder", "receiver") if pair[role] in refused]
        if wrong:
            return None, "; ".join(wrong)
        try:
            checked = self._validator.validate(self._options(pair, task_vars))
        except AnsibleError as exc:
            return None, str(exc)
        hidden |= probing.secrets(checked._no_log_values)
        if checked.error_messages:
            return None, remove_values("; ".join(checked.error_messages), hidden)
        return checked.validated_parameters, None

    def _options(self, pair: dict, task_vars: dict) -> dict:
        gate = task_vars["kv_reuse_gate"]
        known = {role: assemble.options(task_vars, pair[role]) for role in ("holder", "receiver")}
        plan = gate["kv_reuse_plan"]
        controllers = [pair["receiver"], *gate["kv_reuse_controllers"].get(pair["cluster"], [])]
        given = {
            **{role: probing.engine_options(options, pair[role], plan["mode"]) for role, options in known.items()},
            **probing.experiment_options(known["receiver"]),
            **probing.controller_options({name: assemble.options(task_vars, name) for name in controllers}),
            "cluster": pair["cluster"],
            "shares": pair["shares"],
            "run_id": f"{plan['run_id']}p{pair['number']}",
        }
        reached = task_vars["hostvars"], self._task, self._play_context.password
        for role in known:
            if given[role].get("ssh"):
                given[role]["ssh"] = login(given[role]["ssh"], *reached)
        if given.get("controller_ssh"):
            given["controller_ssh"] = login(given["controller_ssh"], *reached)
        return given

    @staticmethod
    def _tell_progress(told: list[dict]):
        """Through this process's copy of the callback, whose display ends on the screen."""
        report = vars(Display()).get("_kv_reuse_report")
        if report:
            report.probed([one["pair"] for one in told])


def _end_with(parent: int) -> None:
    """A process that probes ends with the task, whatever ended that: nobody would take its answers."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # instead of the handlers of Ansible's worker
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
