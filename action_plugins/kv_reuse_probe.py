# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module of the same name.  Where it is to reach a host through SSH, says how Ansible would log in there.

The options of Ansible's own ssh connection count, wherever they were set, whatever connection the play uses.
"""

from __future__ import annotations

import os
import shlex

from ansible.errors import AnsibleError
from ansible.playbook.play_context import PlayContext
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import connection_loader

SSH = "ansible.builtin.ssh"


class ActionModule(ActionBase):
    TRANSFERS_FILES = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        args, task_vars = dict(self._task.args), task_vars or {}
        try:
            for side in ("holder", "receiver"):
                if isinstance(args.get(side), dict) and args[side].get("ssh"):
                    args[side] = {**args[side], "ssh": self._login(args[side]["ssh"], task_vars)}
            if args.get("controller_ssh"):
                args["controller_ssh"] = self._login(args["controller_ssh"], task_vars)
        except AnsibleError as exc:
            return dict(result, failed=True, msg=str(exc))
        result.update(self._execute_module(module_args=args, task_vars=task_vars))
        return result

    def _login(self, given, task_vars):
        """host, args and password of a host of the inventory; what was given where it is none."""
        name = given.get("inventory_host") if isinstance(given, dict) else None
        if not name:
            return given
        hosts = task_vars.get("hostvars") or {}
        if name not in hosts:
            raise AnsibleError(f"kv_reuse_probe: {name} is no host of the inventory: correct ssh.inventory_host")
        values = hosts[name]
        plugin = connection_loader.get(SSH, PlayContext(), os.devnull)
        variables = {one["name"] for option in plugin.option_definitions.values() for one in option.get("vars") or []}
        plugin.set_options(
            task_keys=self._task.dump_attrs(),
            var_options={one: values[one] for one in variables if one in values},
        )
        return {
            "host": str(plugin.get_option("host")),
            "args": shlex.join(_words(plugin)),
            "password": plugin.get_option("password") or self._play_context.password or None,
        }


def _words(plugin) -> list[str]:
    """ssh's arguments, in the order in which Ansible gives them: of two that say the same, the first counts."""
    port, key = plugin.get_option("port"), plugin.get_option("private_key_file")
    user, found = plugin.get_option("remote_user"), shlex.split(plugin.get_option("ssh_args") or "")
    if plugin.get_option("host_key_checking") is False:
        found += ["-o", "StrictHostKeyChecking=no"]
    found += ["-o", f"Port={port}"] if port is not None else []
    found += ["-o", f'IdentityFile="{os.path.expanduser(key)}"'] if key else []
    found += ["-o", f'User="{user}"'] if user else []
    for name in ("ssh_common_args", "ssh_extra_args"):
        found += shlex.split(plugin.get_option(name) or "")
    return found
