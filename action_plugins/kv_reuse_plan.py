# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate: which pairs this run judges.  Fails when there is none, so that nothing judged is never green."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

from ansible.plugins.action import ActionBase

try:
    from ..module_utils.kvproof.evidence import assemble
    from ..module_utils.kvproof.judge import waivers
    from ..module_utils.kvproof.plan import topology
except ImportError:  # in place the tree is no package: the core lies beside this folder
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "module_utils"))
    from kvproof.evidence import assemble
    from kvproof.judge import waivers
    from kvproof.plan import topology

import datetime


class ActionModule(ActionBase):
    """Runs on the controller, sends nothing anywhere."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset(
        ("mode", "max_pairs", "inconclusive", "waive", "reports_dir", "seed_mode", "bundle", "parallel_pairs")
    )

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        args, task_vars = self._task.args, task_vars or {}
        unknown = set(args) - self._VALID_ARGS
        if unknown:
            return dict(result, failed=True, msg=f"kv_reuse_plan: unknown argument {', '.join(sorted(unknown))}")
        inconclusive = str(args.get("inconclusive") or "fail")
        if inconclusive not in ("fail", "warn"):
            return dict(result, failed=True, msg=f"kv_reuse_inconclusive is {inconclusive!r}; use fail or warn")
        try:
            most = int(args.get("max_pairs") or 0)
        except (TypeError, ValueError):
            text = f"kv_reuse_max_pairs is {args['max_pairs']!r}; use 0 for no bound, or a number of pairs"
            return dict(result, failed=True, msg=text)
        try:
            parallel = int(args.get("parallel_pairs") or 1)
            if parallel < 1:
                raise ValueError
        except (TypeError, ValueError):
            text = f"kv_reuse_parallel_pairs is {args['parallel_pairs']!r}; use a number of pairs, 1 or more"
            return dict(result, failed=True, msg=text)
        known = hosts(task_vars)
        found = topology.plan(known, str(args.get("mode") or "cover"), most)
        for number, pair in enumerate(found.pairs):
            pair["number"] = number
        _, ignored = waivers.active(waivers.plain(args.get("waive")), datetime.date.today())
        result["changed"] = False
        result["kv_reuse_plan"] = {
            "mode": "seed" if args.get("seed_mode") else "inventory",
            "run_id": secrets.token_hex(4),
            "pairs": found.pairs,
            "skipped": found.skipped,
            "notes": found.notes + ignored,
            "reports_dir": str(args.get("reports_dir") or "reports"),
            "inconclusive": inconclusive,
            "bundle": bool(args.get("bundle")),
        }
        result["kv_reuse_rounds"] = topology.rounds(found.pairs, parallel)
        result["kv_reuse_controllers"] = controllers(known)
        result["kv_reuse_pairs_of"] = by_engine(found.pairs)
        if found.problem:
            result.update(failed=True, msg=f"kv_reuse: {found.problem}")
        return result


def by_engine(pairs: list[dict]) -> dict[str, list[dict]]:
    """Host → the pairs that it takes part in."""
    found: dict[str, list[dict]] = {}
    for pair in pairs:
        for role in ("holder", "receiver"):
            found.setdefault(pair[role], []).append(pair)
    return found


def controllers(known: list[dict]) -> dict[str, list[str]]:
    """Cluster → the hosts of its controllers."""
    found: dict[str, list[str]] = {}
    for host in known:
        if "controller" in host["roles"]:
            found.setdefault(host["cluster"], []).append(host["name"])
    return found


def hosts(task_vars: dict) -> list[dict]:
    """The kv hosts of the inventory as topology.plan() takes them."""
    groups, hostvars = task_vars.get("groups") or {}, task_vars.get("hostvars") or {}
    in_play = set(task_vars.get("ansible_play_hosts_all") or [])
    roles: dict[str, list[str]] = {}
    for group, role in topology.GROUPS.items():
        for name in groups.get(group) or []:
            roles.setdefault(str(name), []).append(role)
    return [
        {
            "name": name,
            "roles": mine,
            "in_play": name in in_play,
            "cluster": str(
                assemble.options(task_vars, name).get("kv_reuse_cluster")
                or hostvars[name].get("kv_reuse_cluster")  # of hosts that are not in the play
                or "default"
            ),
        }
        for name, mine in roles.items()
    ]
