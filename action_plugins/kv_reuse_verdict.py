# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evidence in, verdict out.  The task after it fails the host with the headlines returned here."""

from __future__ import annotations

import datetime
import json
import sys
from pathlib import Path

from ansible.plugins.action import ActionBase

try:
    from ..module_utils.kvproof import assemble, bundle, report, waivers
    from ..module_utils.kvproof.judge import judge
except ImportError:  # in place the tree is no package: the core lies beside this folder
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "module_utils"))
    from kvproof import assemble, bundle, report, waivers
    from kvproof.judge import judge


class ActionModule(ActionBase):
    """Judges the pairs of one receiver on the controller; no I/O."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset(("pairs", "probes", "mode", "inconclusive", "waive", "limits", "bundle"))

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        args = self._task.args
        unknown = set(args) - self._VALID_ARGS
        if unknown:
            return dict(result, failed=True, msg=f"kv_reuse_verdict: unknown argument {', '.join(sorted(unknown))}")
        waive, today = waivers.plain(args.get("waive")), datetime.date.today()
        counting, ignored = waivers.active(waive, today)
        documents = evidence(args, task_vars or {})
        if args.get("bundle"):
            secrets = _secrets(args, task_vars or {})
            documents = [bundle.scrubbed(document, secrets) for document in documents]
            result["kv_reuse_judged_from"] = {"evidence": documents, "waive": waive, "on": today.isoformat()}
        verdicts = [judge(document, counting) for document in documents]
        inconclusive = str(args.get("inconclusive") or "fail")
        failing = [report.headline(v) for v in verdicts if report.fails(v["verdict"], inconclusive) and not v["waived"]]
        return dict(result, changed=False, kv_reuse_verdicts=verdicts, kv_reuse_failing=failing, kv_reuse_notes=ignored)


def evidence(args: dict, task_vars: dict) -> list[dict]:
    """One evidence document per pair, of plain JSON types (Ansible hands over lazy containers)."""
    hostvars, groups = task_vars.get("hostvars") or {}, task_vars.get("groups") or {}
    documents = []
    for number, pair in enumerate(args.get("pairs") or []):
        probes = args.get("probes") or []
        probe = probes[number].get("probe") if number < len(probes) else None
        controllers = [
            (name, _seen(hostvars, name))
            for name in groups.get("kv_controller") or []
            if str(hostvars[name].get("kv_reuse_cluster") or "default") == pair["cluster"]
        ]
        documents.append(
            assemble.pair_evidence(
                pair,
                str(args.get("mode") or "inventory"),
                probe,
                {role: _seen(hostvars, pair[role]) for role in ("holder", "receiver")},
                controllers,
                limits={
                    name: float(limit) for name, limit in (args.get("limits") or {}).items() if float(limit or 0) > 0
                },
            )
        )
    return [json.loads(json.dumps(document, default=str)) for document in documents]


def _secrets(args: dict, task_vars: dict) -> list[str]:
    """Keys, header values and passwords of every engine that these pairs name."""
    hostvars = task_vars.get("hostvars") or {}
    hosts = {pair[role] for pair in args.get("pairs") or [] for role in ("holder", "receiver")}
    names = ("kv_reuse_api_key", "kv_reuse_headers", "kv_reuse_proxy", "kv_reuse_url", "kv_reuse_metrics_url")
    names += ("kv_reuse_controller_url", "kv_reuse_internal_api_url")
    return [one for host in hosts for one in bundle.secrets_of({name: hostvars[host].get(name) for name in names})]


def _seen(hostvars: dict, host: str) -> dict:
    """What kv_reuse_evidence registered for a host; empty where it was skipped or never ran."""
    result = hostvars[host].get("kv_reuse_seen") or {}
    return {} if result.get("skipped") else result
