# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tasks of one playbook run handed in, and the run's document of it.  No I/O, no Ansible.

The callback hands in what each task registered as it ends; a bundle keeps the same, to be handed in
once more when it is judged again.
"""

from __future__ import annotations

from typing import Any

from ..plan import shard as shards
from ..plan.pair import Key, PlannedPair, SkippedPair, key_of, names_of
from ..stack import redact
from . import document
from .language import ENGLISH, Language
from .parts import Console, History, Pair, Places, Status, Verdict

LIMIT = 400  # characters of a task's message


OF_THE_DOCUMENT = ("mode", "run_id", "inconclusive", "traceparent")  # of a plan, what stands in the document as it is
OF_THIS_MACHINE = ("reports_dir", "console", "lang", "history")  # of a plan, what a bundle does not take elsewhere


class Run:
    """The plan, the verdicts and the failures of one run of ansible-playbook, in the order in which they came."""

    def __init__(self, started_at: str):
        self.started_at = started_at
        self.said: list[dict[str, Any]] = []  # what was handed in, in order: a bundle replays it
        self.bundle = False
        self.reports_dir: str | None = None
        self.console: Console = "full"
        self.language: Language = ENGLISH
        self.formats: list[str] = []  # files that are written on request
        self.history: dict[str, Any] | None = None  # where runs are kept, and how many: folder, keep
        self._plan: dict[Key, PlannedPair] = {}
        self._skipped: dict[Key, SkippedPair] = {}
        self._verdicts: dict[Key, Pair] = {}
        self._failures: dict[str, str] = {}  # host → what failed last
        self._unjudged: dict[Key, str] = {}  # why a pair could not be probed
        self._refused: str | None = None
        self._settings: dict[str, Any] = {}
        self._notes: dict[str, None] = {}
        self._shards: list[shards.Shard] = []
        self._places: Places | None = None
        self._past: History | None = None

    def plan(self, plan: dict[str, Any], failed: bool = False, text: str = "") -> None:
        """``kv_reuse_plan`` of a kv_reuse_pairs task; a second one (another play) adds to the first."""
        text = _sentence(text)
        self._say("plan", {key: value for key, value in plan.items() if key not in OF_THIS_MACHINE}, failed, text)
        self.bundle = self.bundle or bool(plan.get("bundle"))
        self._plan.update({key_of(pair): pair for pair in plan.get("pairs") or []})
        self._skipped.update({key_of(pair): pair for pair in plan.get("skipped") or []})
        self._settings.update({k: plan[k] for k in OF_THE_DOCUMENT if plan.get(k)})
        self.formats += [name for name in plan.get("formats") or [] if name not in self.formats]
        self._places = document.together(self._places, plan.get("places"))
        self._shards += [plan["shard"]] if plan.get("shard") else []
        self.reports_dir = plan.get("reports_dir") or self.reports_dir
        self.console = plan.get("console") or self.console
        self.language = plan.get("lang") or self.language
        self.history = plan.get("history") or self.history
        self.note(plan.get("notes"))
        if failed:
            self._refused = text

    def verdicts(self, verdicts: list[Pair], source: dict[str, Any] | None = None) -> None:
        """The verdicts of a kv_reuse_verdict task.  source: where a bundle is wanted, what they were judged from:
        ``evidence``, ``waive`` and ``on``, the day."""
        if source:
            self.said.append({"what": "judged", **source})
        self._verdicts.update({key_of(verdict): verdict for verdict in verdicts})

    def unjudged(self, pairs: list[SkippedPair]) -> None:
        """``kv_reuse_unjudged`` of a kv_reuse_verdict task: pairs with the ``reason`` why they were not probed."""
        if pairs:
            self._say("unjudged", pairs)
        self._unjudged.update({key_of(pair): _sentence(pair["reason"]) for pair in pairs})

    def note(self, notes: list[str] | None) -> None:
        if notes:
            self._say("note", notes)
        self._notes.update(dict.fromkeys(notes or []))

    def past(self, history: History) -> None:
        """What earlier runs tell of this one, when it has ended."""
        self._say("past", history)
        self._past = history

    def failure(self, host: str, task: str, text: str, unreachable: bool = False) -> None:
        """A task that failed on a host, or could not reach it."""
        text = _sentence(text)
        self._say("failure", host, task, text, unreachable)
        self._failures[host] = (
            f"{host}: task “{task}” could not reach the host: {text}"
            if unreachable
            else f"{host}: task “{task}” failed: {text}"
        )

    def _say(self, what: str, *args: object) -> None:
        self.said.append({"what": what, "args": list(args)})

    def document(self, status: Status, finished_at: str | None = None, exit_code: int | None = None) -> Verdict:
        """``kvproof.verdict/1``.  exit_code: what Ansible will exit with."""
        left = [pair for key, pair in self._plan.items() if key not in self._verdicts]
        doc = document.document(
            status=status,
            started_at=self.started_at,
            finished_at=finished_at,
            pairs=list(self._verdicts.values()),
            not_judged=[{**names_of(p), "reason": self._why_not_judged(p)} for p in left] if finished_at else [],
            skipped=[{**names_of(p), "reason": p.get("reason") or "not asked for"} for p in self._skipped.values()],
            problems=self._problems() if finished_at else [],
            notes=list(self._notes),
            exit_code=exit_code,
            shard=shards.together(self._shards)[0],
            places=self._places,
            **self._settings,
        )
        if self._past:
            doc["history"] = self._past
        return self._compared_with_exit_code(doc)

    def _why_not_judged(self, pair: PlannedPair) -> str:
        if key_of(pair) in self._unjudged:
            return self._unjudged[key_of(pair)]
        for host in (pair["receiver"], pair["holder"]):
            if host in self._failures:
                return self._failures[host]
        elsewhere = next(iter(self._failures.values()), None)
        return f"its verdict task did not run; {elsewhere}" if elsewhere else "its verdict task did not run"

    def _problems(self) -> list[str]:
        """Why there is nothing to show, when no pair was even planned, or which part the run was of is not known."""
        shard, odd = shards.together(self._shards)
        if self._refused or odd:
            return [text for text in (self._refused, odd) if text]
        if self._plan or self._verdicts:
            return []
        if shards.is_empty(shard):
            return list(self._failures.values())
        return list(self._failures.values()) or ["no pair was judged: no task of the validation ran on any host"]

    def _compared_with_exit_code(self, doc: Verdict) -> Verdict:
        if doc["exit_code"] == 0 and doc["run_fails"]:
            doc["problems"].append("no task failed, so Ansible exits with 0 although this run is no pass")
        elif doc["exit_code"] and not doc["run_fails"]:
            doc["notes"] += [f"the exit code comes from elsewhere: {text}" for text in self._failures.values()]
        return doc


def _sentence(text: str) -> str:
    """One line without secrets.  The cut comes last, so that _sentence(_sentence(text)) == _sentence(text)."""
    return redact.without_secrets(" ".join(str(text or "no reason given").split())[: 5 * LIMIT])[:LIMIT]
