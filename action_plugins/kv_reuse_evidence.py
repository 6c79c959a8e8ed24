# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads one host after the probe: lmcache_node_info where it is an engine's, lmcache_controller_info where it is the
controller's, lmcache_log_info where there are only URLs.  One task for all hosts, so that they are read side by side.
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
    """Returns ``seen``, as JSON (see assemble): what the modules returned (``node``, ``controller``, ``log``).  Fails
    when one of them failed."""

    TRANSFERS_FILES = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        host, hostvars = str(task_vars["inventory_hostname"]), task_vars["hostvars"]
        options = assemble.options(hostvars, host)
        if not options:
            return dict(result, skipped=True, skip_reason="no host of the validation")
        if not options["kv_reuse_nodes"]:
            return dict(result, skipped=True, skip_reason="kv_reuse_nodes is false")
        wanted = questions(task_vars["kv_reuse_gate"], options, host, hostvars)
        if not wanted:
            return dict(result, skipped=True, skip_reason="no pair of this run has this host")
        said, failed = {}, []
        for module, module_args in wanted.items():
            answer = self._execute_module(module_name=module, module_args=module_args, task_vars=task_vars)
            said.update({part: answer[part] for part in ("node", "controller", "log") if part in answer})
            if answer.get("failed"):
                failed.append(str(answer.get("msg") or f"{module} failed"))
        return dict(
            result,
            changed=False,
            seen=assemble.packed(said),
            **({"failed": True, "msg": "; ".join(failed)} if failed else {}),
        )


def questions(gate: dict, options: dict, host: str, hostvars: dict) -> dict[str, dict]:
    """Module → its arguments, for those that this host can answer."""
    wanted: dict[str, dict] = {}
    plan, pairs = gate["kv_reuse_plan"], gate["kv_reuse_pairs_of"].get(host)
    log = {name: value for name, value in options["kv_reuse_log"].items() if value}
    if pairs:
        this_run = {"log": log or None, "run_marker": f"kvp-{plan['run_id']}", **_asked(pairs, host, hostvars)}
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


def _asked(pairs: list[dict], host: str, hostvars: dict) -> dict:
    """The request ids that this host's log should show, since when, and the peers it should reach."""
    probed = assemble.probed(pairs, hostvars)
    told = [(pair, probed.get(assemble.key_of(pair), {}).get("probe")) for pair in pairs]
    seen = [("holder" if pair["holder"] == host else "receiver", probe) for pair, probe in told if probe]
    began = [probe["started_at"] for _, probe in seen]
    return {
        "ids": [one for role, probe in seen for one in assemble.wanted_ids([probe], role)],
        "peers": assemble.peers_listed([probe for _, probe in seen]),
        "since": min(began) if began else None,
    }
