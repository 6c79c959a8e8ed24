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

LIMITS = ("min_speedup", "max_ttft_ms")
all_findings()  # imported before Ansible forks, once for all hosts


class ActionModule(ActionBase):
    """Judges the pairs of one receiver on the controller; no I/O."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        host, hostvars, gate = str(task_vars["inventory_hostname"]), task_vars["hostvars"], task_vars["kv_reuse_gate"]
        options, plan = assemble.options(hostvars, host), gate["kv_reuse_plan"]
        pairs = [pair for pair in gate["kv_reuse_pairs_of"].get(host) or [] if pair["receiver"] == host]
        probed = assemble.probed(pairs, hostvars)
        problems = {key: one["problem"] for key, one in probed.items() if one.get("problem")}
        unjudged = [{**names_of(p), "reason": problems[key_of(p)]} for p in pairs if key_of(p) in problems]
        pairs = [pair for pair in pairs if key_of(pair) not in problems]
        waive, today = waivers.plain(options["kv_reuse_waive"]), datetime.date.today()
        counting, ignored = waivers.active(waive, today)
        documents = evidence(pairs, probed, gate, options, hostvars)
        if plan["bundle"]:
            secrets = _secrets(pairs, hostvars)
            documents = [bundle.scrubbed(document, secrets) for document in documents]
            result["kv_reuse_judged_from"] = {"evidence": documents, "waive": waive, "on": today.isoformat()}
        verdicts = [judge(document, counting) for document in documents]
        inconclusive = plan["inconclusive"]
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


def evidence(pairs: list[dict], probed: dict[tuple, dict], gate: dict, options: dict, hostvars) -> list[dict]:
    """One evidence document per pair, of plain JSON types."""
    names = gate["kv_reuse_controllers"].get(pairs[0]["cluster"], []) if pairs else []
    controllers = [(name, assemble.seen(hostvars, name)) for name in names]
    limits = {name: options[f"kv_reuse_{name}"] for name in LIMITS if options[f"kv_reuse_{name}"] > 0}
    documents = [
        assemble.pair_evidence(
            pair,
            gate["kv_reuse_plan"]["mode"],
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
    return [one for host in hosts for one in bundle.secrets_of(assemble.options(hostvars, host))]
