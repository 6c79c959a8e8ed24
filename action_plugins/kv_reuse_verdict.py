# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evidence in, verdict out, for all pairs.  The task after it fails the receivers whose headlines are returned here:
a callback, which assembles the verdicts, cannot fail a run."""

from __future__ import annotations

import datetime
import json
import sys
import traceback
from pathlib import Path
from typing import Any, ClassVar

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "module_utils")]  # see plugin_utils
from kvproof.evidence.assemble import packed, pair_evidence, seen
from kvproof.judge import waivers
from kvproof.judge.verdict import judge
from kvproof.plan import shard as shards
from kvproof.plan.pair import key_of, names_of
from kvproof.report import bundle, document, timeline
from kvproof.report.run import Run

from plugin_utils import reporter
from plugin_utils.base import ControllerAction
from plugin_utils.variables import RoleVariables

_MOST_HEADLINES = 20
_SUMMARY = "kv_reuse: {verdict} ({passed} of {pairs} pairs passed)"
_UNREPORTED = (
    "No report is written, and an earlier run's is taken away, since no callback assembles it: put "
    "callbacks_enabled = kvproof.cluster.kv_reuse_report into ansible.cfg"
)


class ActionModule(ControllerAction):
    SPEC: ClassVar = {
        "plan": {"type": "json", "required": True},
        "probes": {"type": "dict", "default": {}},
        "nodes": {"type": "str", "required": True},
        "recognised": {"type": "str"},
    }

    def answer(self, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        self._plan, self._hostvars = json.loads(args["plan"]), task_vars["hostvars"]
        self._registered = args["nodes"], args["recognised"]
        self._variables = RoleVariables(self, task_vars)
        pairs_of: dict[str, list[dict]] = {}
        for pair in self._plan["pairs"]:
            pairs_of.setdefault(pair["receiver"], []).append(pair)
        failing = {host: [problem] for host, problem in self._plan["refused"].items()}
        judged = []
        for host, pairs in pairs_of.items():
            answers = json.loads(args["probes"].get(pairs[0]["cluster"]) or "[]")
            judged.append(self._judge(host, pairs, {key_of(answer["pair"]): answer for answer in answers}))
            headlines = _failing(judged[-1], self._plan["inconclusive"], self._task.check_mode)
            if headlines:
                failing.setdefault(host, []).extend(headlines)
        doc = self._document(judged)
        result = {"kv_reuse_judged": packed(judged), "failing": failing}
        outcome = document.outcome(doc)
        if not reporter.reports():
            result["headlines"] = [
                _SUMMARY.format(**outcome),
                *([shards.note(doc["shard"])] if "shard" in doc else []),
                *[line for lines in failing.values() for line in lines][:_MOST_HEADLINES],
                _UNREPORTED,
            ]
        return {**result, "outcome": outcome, "ansible_stats": _stats(outcome)}

    def _document(self, judged: list[dict]) -> dict:
        """The run's document as far as its pairs go, which the callback makes once more when the run has ended."""
        run = Run(now := datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"))
        run.plan(self._plan)
        for answer in judged:
            run.verdicts(answer["verdicts"])
            run.unjudged(answer["unjudged"])
        return run.document("complete", now)

    def _judge(self, host: str, pairs: list[dict], answers: dict[tuple, dict]) -> dict:
        """The pairs of one receiver."""
        problems = {key: answer["problem"] for key, answer in answers.items() if answer.get("problem")}
        unjudged = [{**names_of(p), "reason": problems[key_of(p)]} for p in pairs if key_of(p) in problems]
        judging = self._plan["judging"][host]
        if judging is None:
            return {"verdicts": [], "unjudged": unjudged, "notes": []}
        pairs = [pair for pair in pairs if key_of(pair) not in problems]
        today = datetime.date.today()
        counting, ignored = waivers.active(judging["waive"], today)
        secrets = self._secrets(pairs) if self._plan["bundle"] else []
        documents, verdicts = [], []
        for pair in pairs:
            try:
                evidence = self._evidence(pair, answers, judging)
                if self._plan["bundle"]:
                    evidence = bundle.scrubbed(evidence, secrets)
                verdict = judge(evidence, counting)
                if "trace" in self._plan.get("formats", []):
                    verdict = timeline.timed(verdict, evidence)
                packed(verdict)
            except Exception as exc:  # one pair's odd evidence must not take the others' verdicts
                unjudged.append({**names_of(pair), "reason": f"its evidence cannot be judged ({_place(exc)})"})
            else:
                documents.append(evidence)
                verdicts.append(verdict)
        judged = {"unjudged": unjudged, "notes": ignored, "verdicts": verdicts}
        if self._plan["bundle"]:
            judged["source"] = {"evidence": documents, "waive": judging["waive"], "on": today.isoformat()}
        return judged

    def _evidence(self, pair: dict, answers: dict[tuple, dict], judging: dict) -> dict:
        """The evidence document of a pair, of plain JSON types."""
        evidence = pair_evidence(
            pair,
            self._plan["mode"],
            answers.get(key_of(pair), {}).get("probe"),
            {role: self._seen(pair[role]) for role in ("holder", "receiver")},
            [
                (role, name, self._seen(name))
                for role, hosts_of in self._plan["others"].items()
                for name in hosts_of.get(pair["cluster"], [])
            ],
            limits=judging["limits"],
            source=judging["source"],
        )
        return json.loads(packed(evidence))

    def _seen(self, host: str) -> dict:
        """What lmcache_node_info showed there, or how it failed; the look before the probe where it got no other."""
        variables = self._hostvars.raw_get(host)  # not templated: results hold no templates
        looks = [variables.get(name) or {} for name in self._registered if name]
        last = next((look for look in looks if look and not look.get("skipped")), {})
        if last is looks[0] and looks[-1].get("unreachable"):  # then its log alone was read, on the controller
            return {**seen(last), "unreachable": True, "msg": looks[-1].get("msg")}
        return seen(last) if last is looks[0] or last.get("unreachable") else {}

    def _secrets(self, pairs: list[dict]) -> list[str]:
        """Keys, header values and passwords of every engine that these pairs name."""
        hosts = {pair[role] for pair in pairs for role in ("holder", "receiver")} - set(self._plan["refused"])
        return [secret for host in hosts for secret in bundle.secrets_of(self._variables.of(host))]


def _stats(outcome: dict) -> dict:
    """As set_stats has it, for AWX workflows: one variable, of the whole run."""
    return {"data": {"kv_reuse_outcome": outcome}, "per_host": False, "aggregate": False}


def _place(exc: Exception) -> str:
    """What went wrong and where, for whoever mends it."""
    where = traceback.extract_tb(exc.__traceback__)[-1]
    return f"{type(exc).__name__}: {str(exc)[:100]}, {Path(where.filename).name}:{where.lineno}"


def _failing(judged: dict, inconclusive: str, nothing_sent: bool) -> list[str]:
    """Headlines of the pairs that fail the run; in check mode, of those alone that a run could not even probe."""
    verdicts = [] if nothing_sent else judged["verdicts"]
    bad = [pair for pair in verdicts if document.fails(pair["verdict"], inconclusive) and not pair["waived"]]
    lost = [f"{document.pair_name(pair)} not judged: {pair['reason']}" for pair in judged["unjudged"]]
    return [*(document.headline(pair) for pair in bad), *lost]
