# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at one host: its engine as the module of this name does, its controller as lmcache_controller_info does, its
coordinator or cache server as lmcache_mp_info does, its log alone as lmcache_log_info does.  One task for all of it and
for all hosts, so that they are read side by side.

What these modules do is piped into the node's Python as one program (plugin_utils/node_program): one connection and no
file on the node, also where pipelining is off, and half the CPU there.  Where that cannot be, Ansible runs the modules.
A log that is on no node is read here by the same code, before the host is asked, which gets what was seen of it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from ansible import constants as C
from ansible.errors import AnsibleConnectionFailure

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "module_utils")]  # see plugin_utils
from kvproof.evidence.assemble import packed
from kvproof.node import log as logs
from kvproof.node import modules
from kvproof.node.arguments import NODE, TASK

from plugin_utils import bounds, node_program
from plugin_utils.base import Action, Refused

NOT_FOUND = 127  # a shell's exit code
LONGEST_REASON = 300  # characters of what a host says about itself
PARTS = {
    "engine": "lmcache_node_info",
    "log": "lmcache_log_info",
    "controller": "lmcache_controller_info",
    "coordinator": "lmcache_mp_info",
    "cache_server": "lmcache_mp_info",
}
SEEN = ("node", "log", "controller", "coordinator", "cache_server")
#: What tells which lines of a log are wanted.
OF_A_RUN = ("run_marker", "ids", "since")
MOST_OF_A_LOG = 256 << 20  # bytes: its end, a stretch around the run and rotated files, of log_budget each at most
GRACE_S = 5.0  # for ending a command


class ActionModule(Action):
    SPEC: ClassVar = TASK

    def arguments(self) -> dict[str, Any]:
        args = super().arguments()
        args["log_here"] = (args["log"] or {}).pop("on_controller", None)
        if args["log_here"] is not None and any(args["log"].values()):
            raise Refused("log: give exactly one of file, unit, command and on_controller")
        for source in ("log", "mp_log"):
            if not any((args[source] or {}).values()):
                args[source] = None
        args.update({name: value for name, value in (args.pop("requests") or {}).items() if value})
        return {name: value for name, value in args.items() if value not in (None, "")}

    def answer(self, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        if args["timeout"] <= 0:
            raise Refused(f"timeout: give a number of seconds above zero, not {args['timeout']:g}")
        began, here, lost = time.monotonic(), {}, {}
        if "log_here" in args and {"engine", "log"} & {*args["parts"]}:
            here["log"] = args["log_seen"] = log_on_controller(args)
        asked = questions(args)
        try:
            answer = self._ask(asked, round(args["timeout"] - (time.monotonic() - began), 1), task_vars)
        except AnsibleConnectionFailure as exc:
            if not here:
                raise
            answer, lost = {"said": {}, "problems": []}, {"unreachable": True, "msg": str(exc)}
        if "node" not in answer["said"]:
            answer["said"].update(here)
        result = {**({"seen": packed(answer["said"])} if args["as_text"] else answer["said"]), **lost}
        return {**result, "failed": True, "msg": "; ".join(answer["problems"])} if answer["problems"] else result

    def _ask(self, asked: dict[str, dict], seconds: float, task_vars: dict) -> dict:
        """What modules.answer_all() returns on the host, which is not touched where nothing is asked."""
        if not asked:
            return {"said": {}, "problems": []}
        try:
            with bounds.bounded(seconds):
                return self._by_program(asked, seconds, task_vars) or self._by_modules(asked, task_vars)
        except bounds.Exceeded as exc:
            return {"said": {}, "problems": [f"reading this host {exc}"]}

    def _by_program(self, asked: dict[str, dict], timeout: float, task_vars: dict) -> dict | None:
        """What modules.answer_all() returns on the host; None where the program cannot be run there."""
        if not self._takes_programs():
            return None
        python, is_known = self._python(task_vars)
        self._display.vvv(f"{', '.join(asked)} piped into {python}", host=task_vars.get("inventory_hostname"))
        command = f"{self._compute_environment_string()} {python} -".strip()
        done = self._low_level_execute_command(command, in_data=node_program.build(asked, timeout))
        if not is_known and done["rc"] in (NOT_FOUND, node_program.TOO_OLD):
            return None
        # a login shell may print something before it, and after it
        answers = [line for line in done["stdout"].splitlines() if line.startswith(node_program.BEGINS)]
        try:
            return node_program.answer(answers[-1])
        except (ValueError, IndexError):
            why = " ".join((done["stderr"] or done["stdout"]).strip().splitlines()[-1:])[:LONGEST_REASON]
            if done["rc"] == node_program.TOO_OLD:
                why = "it is older than 3.8"
            advice = "set ansible_python_interpreter to a Python 3.8 or later of this host"
            return {"said": {}, "problems": [f"{python} ended with {done['rc']}: {why or 'no answer'} ({advice})"]}

    def _takes_programs(self) -> bool:
        """Whether a pipe leads to the host: not through every connection plugin, and sudo may want a terminal there,
        unless pipelining says that it does not."""
        become = self._connection.become
        if not self._connection.has_pipelining:
            return False
        # ansible-core 2.18 knows su by its name alone
        if become and (become.name.rpartition(".")[2] == "su" or not getattr(become, "pipelining", True)):
            return False
        try:
            return not become or bool(self._connection.get_option("pipelining"))
        except (KeyError, AttributeError, ValueError):  # the plugin has no such option
            return False

    def _python(self, task_vars: dict) -> tuple[str, bool]:
        """The host's Python, and whether somebody said that it is this one."""
        name = "ansible_python_interpreter"
        given = {name: self._templar.template(task_vars[name])} if name in task_vars else {}
        python = str(C.config.get_config_value("INTERPRETER_PYTHON", variables=given))
        if python.startswith("auto"):
            python = (task_vars.get("ansible_facts") or {}).get("discovered_interpreter_python")
        return (python, True) if python else ("python3", False)

    def _by_modules(self, asked: dict[str, dict], task_vars: dict) -> dict:
        said, problems = {}, []
        for module, module_args in asked.items():
            answer = self._execute_module(
                module_name=self._full_name(module), module_args=module_args, task_vars=task_vars
            )
            said.update({part: answer[part] for part in SEEN if part in answer})
            if answer.get("failed"):
                problems.append(str(answer.get("msg") or f"{module} failed"))
        return {"said": said, "problems": problems}

    def _full_name(self, module: str) -> str:
        """With the collection's name where the task names this action so."""
        return ".".join([*self._task.action.split(".")[:-1], module])


def log_on_controller(args: dict[str, Any]) -> dict[str, Any]:
    """NODE.log of a log that is read on this machine, in half of the time that the host has at most."""
    source, seconds = args["log_here"], min(args["log_timeout"], args["timeout"] / 2)
    if len([value for value in source.values() if value]) != 1:
        raise Refused("log.on_controller: give one of file and command, for example {command: [kubectl, logs, vllm-0]}")
    bounded_by = {"timeout": seconds, "budget": args["log_budget"], "head": args["log_head"]}
    asked = {"log": source, **bounded_by, "max_events": args["max_events"]}
    asked.update({name: args[name] for name in OF_A_RUN if name in args})
    try:
        with bounds.bounded(seconds + GRACE_S, MOST_OF_A_LOG):
            told = modules.answer_all({PARTS["log"]: asked})
    except bounds.Exceeded as exc:
        log = logs.document(source, state="failed", detail=f"reading it {exc}", ids=args["ids"])
    else:
        if told["problems"]:
            raise Refused(told["problems"][0].replace("log", "log.on_controller", 1))
        log = told["said"]["log"]
    return {**log, "found_by": "on_controller", "detail": log["detail"] and f"on the controller: {log['detail']}"}


def questions(args: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Module → its arguments, for the parts that are asked for."""
    asked = {}
    if "engine" in args["parts"]:
        url = urlsplit(args.get("url", ""))
        place = {"host": url.hostname, "port": url.port or (443 if url.scheme == "https" else 80)} if url.netloc else {}
        asked[PARTS["engine"]] = {**place, **{name: args[name] for name in NODE if name in args}}
    elif "log" in args["parts"] and "log_seen" not in args:
        asked[PARTS["log"]] = {name: args[name] for name in ("log", *OF_A_RUN) if name in args}
    if "controller" in args["parts"]:
        asked[PARTS["controller"]] = {"url": args["controller_url"]} if "controller_url" in args else {}
    of_mp = {}
    if "coordinator" in args["parts"]:
        of_mp["coordinator"] = {"url": args["coordinator_url"]} if "coordinator_url" in args else {}
    if "cache_server" in args["parts"]:
        given = {"url": args.get("mp_url"), "log": args.get("mp_log")}
        given.update({name: args[name] for name in OF_A_RUN if name in args})
        of_mp["cache_server"] = {name: value for name, value in given.items() if value is not None}
    return {**asked, PARTS["coordinator"]: of_mp} if of_mp else asked
