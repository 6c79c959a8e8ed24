# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks every host's variables of the role against its argument specification, once for all of the role's tasks.

Ansible's own check of a role does the same in a process for each host, which for a thousand hosts is a minute of CPU.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import yaml
from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.parameters import remove_values
from ansible.plugins.action import ActionBase
from ansible.template import Templar

try:
    from ..module_utils.kvproof.evidence import assemble
    from ..module_utils.kvproof.plan import topology
except ImportError:  # in place the tree is no package: the core lies beside this folder
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "module_utils"))
    from kvproof.evidence import assemble
    from kvproof.plan import topology

SPECS = "roles/kv_reuse/meta/argument_specs.yml"
SERIAL = (
    "kv_reuse: this play runs on its hosts in batches (serial), and a pair needs all hosts of its cluster: "
    "leave serial out, or run the play once for each part with --limit"
)


def _specification() -> dict:
    """Read once, before Ansible forks; the role lies beside the plugins, in a collection beside their folder."""
    above = Path(__file__).resolve().parents
    path = next(folder / SPECS for folder in above[1:3] if (folder / SPECS).is_file())
    return yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"]["main"]["options"]


SPECIFICATION = _specification()


class ActionModule(ActionBase):
    """Runs once for all hosts of the play that are of the validation.

    Returns ``options``, host → JSON (see assemble) of the types that the specification has, and ``refused``, host →
    what is wrong with its variables.  Never shown: keys are among them.
    """

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset(())

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        gc.freeze()  # a collection would write to, and so copy, every page that is shared with Ansible's own process
        groups, in_play, play = task_vars["groups"], task_vars["ansible_play_hosts_all"], self._play()
        if play.serial and set(task_vars["ansible_play_batch"]) != set(in_play):
            return dict(result, failed=True, msg=SERIAL)
        engines_and_controllers = {host for group in topology.GROUPS for host in groups.get(group) or []}
        validator, options, refused = ArgumentSpecValidator(SPECIFICATION), {}, {}
        for host in in_play:
            if host not in engines_and_controllers:
                continue
            try:
                given = self._variables(play, host, task_vars["hostvars"])
            except AnsibleError as exc:
                refused[host] = f"a variable of the role cannot be evaluated: {exc}"
                continue
            checked = validator.validate(given)
            if checked.error_messages:
                told = remove_values("\n".join(checked.error_messages), checked._no_log_values)
                refused[host] = f"Validation of arguments failed:\n{told}"
            else:
                options[host] = assemble.packed(checked.validated_parameters)
        return dict(result, changed=False, options=options, refused=refused, _ansible_no_log=True)

    def _variables(self, play, host: str, hostvars) -> dict:
        """The role's variables as a task of the role sees them on a host: with the defaults, the play's and the task's
        own, which hostvars are without."""
        manager, inventory = hostvars._variable_manager, hostvars._inventory
        found = manager.get_vars(play=play, host=inventory.get_host(host), task=self._task)
        templar = Templar(loader=self._loader, variables=found)
        return {name: templar.template(found[name]) for name in SPECIFICATION if name in found}

    def _play(self):
        above = self._task
        while not hasattr(above, "_play"):
            above = above._parent
        return above._play
