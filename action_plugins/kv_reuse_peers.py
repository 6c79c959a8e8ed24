# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which ports a host's engine has to reach, as the first look at the others' nodes shows them: a sender of LMCache's
prefill/decode transfer hangs for good where it is sent to a port that does not answer."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, ClassVar

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "module_utils")]  # see plugin_utils
from kvproof.stack import disagg

from plugin_utils.base import ControllerAction
from plugin_utils.looks import node_seen


class ActionModule(ControllerAction):
    SPEC: ClassVar = {"plan": {"type": "json", "required": True}, "recognised": {"type": "str", "required": True}}

    def answer(self, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        peers: dict[str, list[dict]] = {}
        for pair in json.loads(args["plan"])["pairs"]:
            receiver = node_seen(task_vars["hostvars"], pair["receiver"], args["recognised"])
            for target in disagg.targets_of(disagg.spec_of(receiver)):
                if target not in peers.setdefault(pair["holder"], []):
                    peers[pair["holder"]].append(target)
        return {"peers": peers}
