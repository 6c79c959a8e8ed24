# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all actions have in common."""

from __future__ import annotations

import gc
from typing import Any, ClassVar

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from kvproof.report.views.clean import harmless


class Refused(Exception):
    """One sentence on why an action does nothing."""


class Action(ActionBase):
    """An action says in SPEC what arguments it takes, and in ``answer`` what it returns."""

    TRANSFERS_FILES = False
    #: Ansible's argument spec.
    SPEC: ClassVar[dict[str, dict[str, Any]]] = {}

    def run(self, tmp=None, task_vars=None):
        result = dict(super().run(tmp, task_vars), changed=False)
        # A worker is a fork: a collection would write to, and so copy, every page that it shares with Ansible's own
        # process, which after the probes of 1,000 nodes has some hundred MB.
        gc.freeze()
        self._display.vvv(f"Using action {self._task.action}", host=(task_vars or {}).get("inventory_hostname"))
        try:
            return {**result, **harmless(self.answer(self.arguments(), task_vars or {}))}
        except Refused as refusal:
            return dict(result, failed=True, msg=harmless(str(refusal)))
        except AnsibleConnectionFailure as lost:  # ssh's words, and so the server's
            raise AnsibleConnectionFailure(harmless(str(lost))) from None

    def arguments(self) -> dict[str, Any]:
        """The task's arguments, of the types that SPEC has.  Raises AnsibleActionFail."""
        return self.validate_argument_spec(self.SPEC)[1]

    def answer(self, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """The task's result; raises Refused."""
        raise NotImplementedError


class ControllerAction(Action):
    """One that asks no host: it needs no connection."""

    _requires_connection = False
