# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module of the same name.  Where it is to reach a host through SSH, says how Ansible would log in there."""

from __future__ import annotations

import sys
from pathlib import Path

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

try:
    from ..plugin_utils.ssh_login import login
except ImportError:  # in place the tree is no package: the core lies beside this folder
    ROOT = Path(__file__).resolve().parent.parent
    sys.path[:0] = [str(ROOT), str(ROOT / "module_utils")]
    from plugin_utils.ssh_login import login


class ActionModule(ActionBase):
    TRANSFERS_FILES = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        args, task_vars = dict(self._task.args), task_vars or {}
        context = task_vars.get("hostvars") or {}, self._task, self._play_context.password
        try:
            for side in ("holder", "receiver"):
                if isinstance(args.get(side), dict) and args[side].get("ssh"):
                    args[side] = {**args[side], "ssh": login(args[side]["ssh"], *context)}
            if args.get("controller_ssh"):
                args["controller_ssh"] = login(args["controller_ssh"], *context)
        except AnsibleError as exc:
            return dict(result, failed=True, msg=str(exc))
        result.update(self._execute_module(module_args=args, task_vars=task_vars))
        return result
