# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes the pairs of one round side by side: what the module kv_reuse_probe does for each, without a process for each.

What keeps a pair from being probed is told of that pair; the others are probed all the same.
"""

from __future__ import annotations

import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.parameters import remove_values
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

try:
    from ..module_utils.kvproof import assemble, probing
    from ..module_utils.kvproof.inventory_ssh import login
    from ..module_utils.kvproof.run import names_of
except ImportError:  # in place the tree is no package: the core lies beside this folder
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "module_utils"))
    from kvproof import assemble, probing
    from kvproof.inventory_ssh import login
    from kvproof.run import names_of


class ActionModule(ActionBase):
    """Runs on the controller.

    Returns ``probed``, the names of the pairs, and ``answers``, as JSON (see assemble): {"pair", "probe", "problem"} of
    each; one of the latter two is null.
    """

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset(("pairs",))

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        unknown = set(self._task.args) - self._VALID_ARGS
        if unknown:
            return dict(result, failed=True, msg=f"kv_reuse_round: unknown argument {', '.join(sorted(unknown))}")
        pairs, gate = list(self._task.args["pairs"]), task_vars["kv_reuse_gate"]
        asked = [self._options(pair, gate, task_vars["hostvars"]) for pair in pairs]
        with ThreadPoolExecutor(max_workers=len(pairs)) as pool:
            answers = list(pool.map(self._probe, asked))
        names = [names_of(pair) for pair in pairs]
        told = assemble.packed([{"pair": pair, **answer} for pair, answer in zip(names, answers)])
        return dict(result, changed=False, probed=names, answers=told)

    def _options(self, pair, gate, hostvars) -> dict | str:
        """The options of the module kv_reuse_probe for a pair, or a sentence on why there are none."""
        known = {role: assemble.options(hostvars, pair[role]) for role in ("holder", "receiver")}
        lost = [pair[role] for role, options in known.items() if not options]
        if lost:
            return f"a task before the probe failed on {' and '.join(lost)}"
        plan = gate["kv_reuse_plan"]
        controllers = [pair["receiver"], *gate["kv_reuse_controllers"].get(pair["cluster"], [])]
        given = {
            **{role: probing.engine_options(options, pair[role], plan["mode"]) for role, options in known.items()},
            **probing.experiment_options(known["receiver"]),
            **probing.controller_options({name: assemble.options(hostvars, name) for name in controllers}),
            "cluster": pair["cluster"],
            "shares": pair["shares"],
            "run_id": f"{plan['run_id']}p{pair['number']}",
        }
        context = hostvars, self._task, self._play_context.password
        try:
            for role in known:
                if given[role].get("ssh"):
                    given[role]["ssh"] = login(given[role]["ssh"], *context)
            if given.get("controller_ssh"):
                given["controller_ssh"] = login(given["controller_ssh"], *context)
        except AnsibleError as exc:
            return str(exc)
        return given

    def _probe(self, given: dict | str) -> dict:
        if isinstance(given, str):
            return {"probe": None, "problem": given}
        validated = ArgumentSpecValidator(probing.argument_spec()).validate(given)
        if validated.error_messages:
            return {"probe": None, "problem": "; ".join(validated.error_messages)}
        hidden = probing.secrets(validated._no_log_values)
        try:
            probe = probing.probe(validated.validated_parameters, self._task.check_mode)
            return {"probe": remove_values(probe, hidden) if hidden else probe, "problem": None}
        except (ValueError, probing.MissingLibrary) as exc:
            problem = str(exc)
        except Exception as exc:
            Display().vvv(traceback.format_exc())
            problem = f"the probe broke off with {type(exc).__name__}: {exc} (-vvv shows where)"
        return {"probe": None, "problem": remove_values(problem, hidden)}
