# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks a host's variables of the role against its argument specification, once for all of the role's tasks.

Ansible's own check of a role does the same in a task of its own, which for a thousand hosts is a minute of CPU.
"""

from __future__ import annotations

import sys
from pathlib import Path

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.parameters import remove_values
from ansible.plugins.action import ActionBase

try:
    from ..module_utils.kvproof import assemble, topology
except ImportError:  # in place the tree is no package: the core lies beside this folder
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "module_utils"))
    from kvproof import assemble, topology

SPECS = "roles/kv_reuse/meta/argument_specs.yml"


def _specification() -> dict:
    """Read once, before Ansible forks; the role lies beside the plugins, in a collection beside their folder."""
    above = Path(__file__).resolve().parents
    path = next(folder / SPECS for folder in above[1:3] if (folder / SPECS).is_file())
    return yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"]["main"]["options"]


SPECIFICATION = _specification()


class ActionModule(ActionBase):
    """Returns ``options``, as JSON (see assemble), of the types that the specification has.  Never shown: keys are
    among them.  Hosts of other groups are skipped."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset(())

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        task_vars = task_vars or {}
        if not set(topology.GROUPS) & set(task_vars.get("group_names") or []):
            return dict(result, skipped=True, skip_reason="no host of the validation")
        given = {name: self._templar.template(task_vars[name]) for name in SPECIFICATION if name in task_vars}
        checked = ArgumentSpecValidator(SPECIFICATION).validate(given)
        if checked.error_messages:
            told = remove_values("\n".join(checked.error_messages), checked._no_log_values)
            return dict(result, failed=True, msg=f"Validation of arguments failed:\n{told}")
        options = assemble.packed(checked.validated_parameters)
        return dict(result, changed=False, options=options, _ansible_no_log=True)
