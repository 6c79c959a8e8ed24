# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role's variables of any host, checked against its argument specification, in one task for all hosts.

Ansible's own check of a role does the same in a process for each host, which for a thousand hosts is a minute of CPU.
"""

from __future__ import annotations

import difflib
import functools
import json
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.parameters import remove_values
from ansible.template import Templar
from kvproof.evidence.assemble import packed

from .base import Action, Refused

SPECIFICATION = "roles/kv_reuse/meta/argument_specs.yml"
PREFIX = "kv_reuse_"
#: What the role registers on hosts and is like the name of an option.
REGISTERED = ("kv_reuse_node",)


@functools.cache
def specification() -> dict[str, dict[str, Any]]:
    """The role's options; the role lies beside the plugins, in a collection beside their folder."""
    above = Path(__file__).resolve().parents
    path = next(folder / SPECIFICATION for folder in above[1:3] if (folder / SPECIFICATION).is_file())
    return yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"]["main"]["options"]


class RoleVariables:
    """What a task of the role sees on each host."""

    def __init__(self, action: Action, task_vars: dict[str, Any]):
        self._action, self._hostvars = action, task_vars["hostvars"]
        self._validator, self._of = ArgumentSpecValidator(specification()), {}
        self._misspelt: dict[str, list[str]] = {}

    def of(self, host: str) -> dict[str, Any]:
        """In plain types, with the defaults.  Keys and passwords are among them.  Raises Refused with what is wrong."""
        if host not in self._of:
            self._of[host] = self._checked(host)
        return self._of[host]

    def misspelt(self) -> list[str]:
        """A sentence for each variable that one of the role's was meant by, as far as hosts have been asked for."""
        return [
            f"kv_reuse: {name} (on {', '.join(hosts[:3])}{', …' * (len(hosts) > 3)}) is no variable of kvproof; "
            f"did you mean {_nearest(name)}?"
            for name, hosts in self._misspelt.items()
        ]

    def _checked(self, host: str) -> dict[str, Any]:
        try:
            checked = self._validator.validate(self._given(host))
        except AnsibleError as exc:
            raise Refused(f"a variable of the role cannot be evaluated: {exc}") from exc
        if checked.error_messages:
            problems = remove_values("\n".join(checked.error_messages), checked._no_log_values)
            raise Refused(f"Validation of arguments failed:\n{problems}")
        return json.loads(packed(checked.validated_parameters))

    def _given(self, host: str) -> dict[str, Any]:
        """With the role's defaults and the play's and the task's own variables, which hostvars are without."""
        task = self._action._task
        # Only Ansible's inventory makes a Host of a name, and a task gets it through hostvars alone: no public way.
        inventory = self._hostvars._inventory
        values = task.get_variable_manager().get_vars(play=task.get_play(), host=inventory.get_host(host), task=task)
        for name in values:
            if name.startswith(PREFIX) and name not in specification() and _nearest(name):
                self._misspelt.setdefault(name, []).append(host)
        templar = Templar(loader=self._action._loader, variables=values)
        given = {name: templar.template(values[name]) for name in specification() if name in values}
        return json.loads(packed(given))  # ansible-core 2.18 hands over vaulted values in a type that its checks refuse


@functools.cache
def _nearest(name: str) -> str | None:
    """The variable of the role that a name was most likely meant for; None where it is like none, as the play's own."""
    ours = {option.removeprefix(PREFIX): option for option in specification()}
    near = difflib.get_close_matches(name.removeprefix(PREFIX), ours, 1, 0.82)
    return ours[near[0]] if near and name not in REGISTERED else None
