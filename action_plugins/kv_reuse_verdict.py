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
    from ..module_utils.kvproof.findings import all_findings
    from ..module_utils.kvproof.judge import judge
    from ..module_utils.kvproof.run import key_of, names_of
except ImportError:  # in place the tree is no package: the core lies beside this folder
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "module_utils"))
    from kvproof import assemble, bundle, report, waivers
    from kvproof.findings import all_findings
    from kvproof.judge import judge
    from kvproof.run import key_of, names_of

all_findings()  # imported before Ansible forks, once for all hosts


class ActionModule(ActionBase):
    """Judges the pairs of one receiver on the controller; no I/O."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset(("pairs", "controllers", "mode", "inconclusive", "waive", "limits", "bundle"))

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        args = self._task.args
        unknown = set(args) - self._VALID_ARGS
        if unknown:
            return dict(result, failed=True, msg=f"kv_reuse_verdict: unknown argument {', '.join(sorted(unknown))}")
        hostvars, pairs = (task_vars or {}).get("hostvars") or {}, list(args.get("pairs") or [])
        probed = assemble.probed(pairs, hostvars)
        problems = {key: one["problem"] for key, one in probed.items() if one.get("problem")}
        unjudged = [{**names_of(p), "reason": problems[key_of(p)]} for p in pairs if key_of(p) in problems]
        pairs = [pair for pair in pairs if key_of(pair) not in problems]
        waive, today = waivers.plain(args.get("waive")), datetime.date.today()
        counting, ignored = waivers.active(waive, today)
        documents = evidence(pairs, probed, args, hostvars)
        if args.get("bundle"):
            secrets = _secrets(pairs, hostvars)
            documents = [bundle.scrubbed(document, secrets) for document in documents]
            result["kv_reuse_judged_from"] = {"evidence": documents, "waive": waive, "on": today.isoformat()}
        verdicts = [judge(document, counting) for document in documents]
        inconclusive = str(args.get("inconclusive") or "fail")
        failing = [report.headline(v) for v in verdicts if report.fails(v["verdict"], inconclusive) and not v["waived"]]
        failing += [f"{report.pair_name(one)} not judged: {one['reason']}" for one in unjudged]
        return dict(
            result,
            changed=False,
            kv_reuse_verdicts=verdicts,
            kv_reuse_unjudged=unjudged,
            kv_reuse_failing=failing,
            kv_reuse_notes=ignored,
        )


def evidence(pairs: list[dict], probed: dict[tuple, dict], args: dict, hostvars) -> list[dict]:
    """One evidence document per pair, of plain JSON types."""
    controllers = [(name, assemble.seen(hostvars, name)) for name in args.get("controllers") or []]
    limits = {name: float(limit) for name, limit in (args.get("limits") or {}).items() if float(limit or 0) > 0}
    documents = [
        assemble.pair_evidence(
            pair,
            str(args.get("mode") or "inventory"),
            probed.get(key_of(pair), {}).get("probe"),
            {role: assemble.seen(hostvars, pair[role]) for role in ("holder", "receiver")},
            controllers,
            limits=limits,
        )
        for pair in pairs
    ]
    return [json.loads(assemble.packed(document)) for document in documents]


def _secrets(pairs: list[dict], hostvars) -> list[str]:
    """Keys, header values and passwords of every engine that these pairs name."""
    hosts = {pair[role] for pair in pairs for role in ("holder", "receiver")}
    names = ("kv_reuse_api_key", "kv_reuse_headers", "kv_reuse_proxy", "kv_reuse_url", "kv_reuse_metrics_url")
    names += ("kv_reuse_controller_url", "kv_reuse_internal_api_url")
    return [one for host in hosts for one in bundle.secrets_of({name: hostvars[host].get(name) for name in names})]
