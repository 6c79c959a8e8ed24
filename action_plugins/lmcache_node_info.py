# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads one host after the probe: lmcache_node_info where it is an engine's, lmcache_controller_info where it is the
controller's, lmcache_log_info where there are only URLs.  One task for all hosts, so that they are read side by side.

What these modules do is piped into the node's Python as one program (nodeprogram): one connection and no file on the
node, also where pipelining is off, and half the CPU there.  Where that cannot be, the modules run as Ansible runs them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from urllib.parse import urlsplit

from ansible import constants as C
from ansible.plugins.action import ActionBase

try:
    from ..module_utils.kvproof.evidence import assemble
    from ..plugin_utils import node_program as nodeprogram
except ImportError:  # in place the tree is no package: the core lies beside this folder
    ROOT = Path(__file__).resolve().parent.parent
    sys.path[:0] = [str(ROOT), str(ROOT / "module_utils")]
    from kvproof.evidence import assemble

    from plugin_utils import node_program as nodeprogram

NOT_FOUND = 127  # a shell's exit code


class ActionModule(ActionBase):
    """Returns ``seen``, as JSON (see assemble): what the modules returned (``node``, ``controller``, ``log``).  Fails
    when one of them failed."""

    TRANSFERS_FILES = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        host = str(task_vars["inventory_hostname"])
        options = assemble.options(task_vars, host)
        if not options:
            return dict(result, skipped=True, skip_reason="no host of the validation")
        if not options["kv_reuse_nodes"]:
            return dict(result, skipped=True, skip_reason="kv_reuse_nodes is false")
        wanted = questions(task_vars, options, host)
        if not wanted:
            return dict(result, skipped=True, skip_reason="no pair of this run has this host")
        answer = self._by_program(wanted, task_vars) or self._by_modules(wanted, task_vars)
        result.update(changed=False, seen=assemble.packed(answer["said"]))
        if answer["problems"]:
            result.update(failed=True, msg="; ".join(answer["problems"]))
        return result

    def _by_program(self, wanted: dict[str, dict], task_vars: dict) -> dict | None:
        """What answers.answer_all() returns on the host; None where the program cannot be run there."""
        if not self._takes_programs():
            return None
        python, is_known = self._python(task_vars)
        command = f"{self._compute_environment_string()} {python} -".strip()
        done = self._low_level_execute_command(command, in_data=nodeprogram.build(wanted))
        if not is_known and done["rc"] in (NOT_FOUND, nodeprogram.TOO_OLD):
            return None
        # a login shell may say something before it, and after it
        told = [line for line in done["stdout"].splitlines() if line.startswith(nodeprogram.BEGINS)]
        try:
            return json.loads(told[-1])
        except (ValueError, IndexError):
            why = " ".join((done["stderr"] or done["stdout"]).strip().splitlines()[-1:])
            if done["rc"] == nodeprogram.TOO_OLD:
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
        given = {name: self._templar.template(task_vars[name]) for name in ("ansible_python_interpreter",)
                 if name in task_vars}  # fmt: skip
        python = str(C.config.get_config_value("INTERPRETER_PYTHON", variables=given))
        if python.startswith("auto"):
            python = (task_vars.get("ansible_facts") or {}).get("discovered_interpreter_python")
        return (python, True) if python else ("python3", False)

    def _by_modules(self, wanted: dict[str, dict], task_vars: dict) -> dict:
        said, problems = {}, []
        for module, module_args in wanted.items():
            answer = self._execute_module(module_name=module, module_args=module_args, task_vars=task_vars)
            said.update({part: answer[part] for part in ("node", "controller", "log") if part in answer})
            if answer.get("failed"):
                problems.append(str(answer.get("msg") or f"{module} failed"))
        return {"said": said, "problems": problems}


def questions(task_vars: dict, options: dict, host: str) -> dict[str, dict]:
    """Module → its arguments, for those that this host can answer."""
    wanted: dict[str, dict] = {}
    gate = task_vars["kv_reuse_gate"]
    plan, pairs = gate["kv_reuse_plan"], gate["kv_reuse_pairs_of"].get(host)
    log = {name: value for name, value in options["kv_reuse_log"].items() if value}
    if pairs:
        this_run = {"log": log or None, "run_marker": f"kvp-{plan['run_id']}", **_asked(pairs, host, task_vars)}
        peers = this_run.pop("peers")
        if plan["mode"] == "inventory":
            url = urlsplit(options["kv_reuse_url"])
            wanted["lmcache_node_info"] = {
                **this_run,
                "peers": peers,
                "host": url.hostname,
                "port": options["kv_reuse_port"] or url.port or (443 if url.scheme == "https" else 80),
                **{name: options[f"kv_reuse_{name}"] for name in ("config_file", "internal_api_url", "controller_url")},
            }
        elif log:
            wanted["lmcache_log_info"] = this_run
    if any(host in names for names in gate["kv_reuse_controllers"].values()):
        wanted["lmcache_controller_info"] = {"url": options["kv_reuse_controller_url"]}
    return {module: {k: v for k, v in given.items() if v not in (None, "")} for module, given in wanted.items()}


def _asked(pairs: list[dict], host: str, task_vars: dict) -> dict:
    """The request ids that this host's log should show, since when, and the peers it should reach."""
    probed = assemble.probed(pairs, task_vars)
    told = [(pair, probed.get(assemble.key_of(pair), {}).get("probe")) for pair in pairs]
    seen = [("holder" if pair["holder"] == host else "receiver", probe) for pair, probe in told if probe]
    began = [probe["started_at"] for _, probe in seen]
    return {
        "ids": [one for role, probe in seen for one in assemble.wanted_ids([probe], role)],
        "peers": assemble.peers_listed([probe for _, probe in seen]),
        "since": min(began) if began else None,
    }
