# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evidence in, verdict out, for all pairs.  The task after it fails the receivers whose headlines are returned here."""

from __future__ import annotations

import datetime
import gc
import json
import sys
from pathlib import Path

from ansible.plugins.action import ActionBase

try:
    from ..module_utils.kvproof.evidence import assemble
    from ..module_utils.kvproof.judge import waivers
    from ..module_utils.kvproof.judge.findings import all_findings
    from ..module_utils.kvproof.judge.verdict import judge
    from ..module_utils.kvproof.plan.pair import key_of, names_of
    from ..module_utils.kvproof.report import bundle
    from ..module_utils.kvproof.report import document as report
except ImportError:  # in place the tree is no package: the core lies beside this folder
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "module_utils"))
    from kvproof.evidence import assemble
    from kvproof.judge import waivers
    from kvproof.judge.findings import all_findings
    from kvproof.judge.verdict import judge
    from kvproof.plan.pair import key_of, names_of
    from kvproof.report import bundle
    from kvproof.report import document as report

LIMITS = ("min_speedup", "max_ttft_ms")
all_findings()  # imported before Ansible forks, once for all hosts


class ActionModule(ActionBase):
    """Runs once, on the controller; no I/O.

    Returns ``kv_reuse_judged``, as JSON (see assemble): {"verdicts", "unjudged", "notes"} of each receiver, and with a
    bundle "source", what they came from; and ``kv_reuse_failing``, host → headlines of those that fail the run.
    """

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        gc.freeze()  # a collection would write to, and so copy, every page that is shared with Ansible's own process
        gate = task_vars["kv_reuse_gate"]
        pairs_of: dict[str, list[dict]] = {}
        for pair in gate["kv_reuse_plan"]["pairs"]:
            pairs_of.setdefault(pair["receiver"], []).append(pair)
        failing = {host: [problem] for host, problem in assemble.refused(task_vars).items()}
        judged = []
        for host, pairs in pairs_of.items():
            judged.append(self._judge(host, pairs, task_vars))
            told = _failing(judged[-1], gate["kv_reuse_plan"]["inconclusive"])
            if told:
                failing.setdefault(host, []).extend(told)
        return dict(result, changed=False, kv_reuse_judged=assemble.packed(judged), kv_reuse_failing=failing)

    @staticmethod
    def _judge(host: str, pairs: list[dict], task_vars: dict) -> dict:
        """The pairs of one receiver."""
        gate, hostvars = task_vars["kv_reuse_gate"], task_vars["hostvars"]
        probed = assemble.probed(pairs, task_vars)
        problems = {key: one["problem"] for key, one in probed.items() if one.get("problem")}
        unjudged = [{**names_of(p), "reason": problems[key_of(p)]} for p in pairs if key_of(p) in problems]
        options = assemble.options(task_vars, host)
        if not options:
            return {"verdicts": [], "unjudged": unjudged, "notes": []}
        pairs = [pair for pair in pairs if key_of(pair) not in problems]
        waive, today = waivers.plain(options["kv_reuse_waive"]), datetime.date.today()
        counting, ignored = waivers.active(waive, today)
        documents = evidence(pairs, probed, gate, options, hostvars)
        judged = {"unjudged": unjudged, "notes": ignored}
        if gate["kv_reuse_plan"]["bundle"]:
            secrets = _secrets(pairs, task_vars)
            documents = [bundle.scrubbed(document, secrets) for document in documents]
            judged["source"] = {"evidence": documents, "waive": waive, "on": today.isoformat()}
        return {**judged, "verdicts": [judge(document, counting) for document in documents]}


def _failing(judged: dict, inconclusive: str) -> list[str]:
    bad = [one for one in judged["verdicts"] if report.fails(one["verdict"], inconclusive) and not one["waived"]]
    lost = [f"{report.pair_name(one)} not judged: {one['reason']}" for one in judged["unjudged"]]
    return [*(report.headline(one) for one in bad), *lost]


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


def _secrets(pairs: list[dict], task_vars: dict) -> list[str]:
    """Keys, header values and passwords of every engine that these pairs name."""
    hosts = {pair[role] for pair in pairs for role in ("holder", "receiver")}
    return [one for host in hosts for one in bundle.secrets_of(assemble.options(task_vars, host))]
