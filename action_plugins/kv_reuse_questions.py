# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What to ask a node after the probe: the request ids its log should show, the peers it should reach.

An action and no filter: short names of actions are found in place and in a collection alike, those of filters are not.
"""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import urlsplit

from ansible.plugins.action import ActionBase

try:
    from ..module_utils.kvproof import assemble
except ImportError:  # in place the tree is no package: the core lies beside this folder
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "module_utils"))
    from kvproof import assemble


class ActionModule(ActionBase):
    """Runs on the controller, sends nothing anywhere.  Returns host, port, ids, peers and since."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset(("pairs", "host", "url"))

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        args = self._task.args
        unknown = set(args) - self._VALID_ARGS
        if unknown:
            return dict(result, failed=True, msg=f"kv_reuse_questions: unknown argument {', '.join(sorted(unknown))}")
        seen = _probes((task_vars or {}).get("hostvars") or {}, args.get("pairs") or [], args.get("host"))
        url = urlsplit(str(args.get("url") or ""))
        began = [entry["probe"]["started_at"] for entry in seen]
        return dict(
            result,
            changed=False,
            host=url.hostname or "",
            port=url.port or (443 if url.scheme == "https" else 80),
            ids=[one for entry in seen for one in assemble.wanted_ids([entry["probe"]], entry["role"])],
            peers=assemble.peers_listed([entry["probe"] for entry in seen]),
            since=min(began) if began else None,
        )


def _probes(hostvars: dict, pairs: list[dict], host: str) -> list[dict]:
    """The probes of this run in which a host takes part, each with the role it has there."""
    found = []
    for receiver in dict.fromkeys(pair["receiver"] for pair in pairs):
        for result in (hostvars[receiver].get("kv_reuse_probed") or {}).get("results") or []:
            pair = result.get("item") or {}
            if result.get("probe") and host in (pair.get("holder"), receiver):
                found.append({"role": "holder" if pair.get("holder") == host else "receiver", "probe": result["probe"]})
    return found
